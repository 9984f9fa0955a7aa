// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

func TestWhatLimitsAWorkloadIsKeptWhileItsServiceIsGone(t *testing.T) {
	owner := model.Reference{Group: "trellis.dev", Kind: "Application", Namespace: "shop", Name: "web"}
	for _, c := range []struct {
		group, kind string
		found, lost bool
	}{
		{"networking.istio.io", "Sidecar", false, true},
		{"networking.istio.io", "ServiceEntry", false, true},
		{"security.istio.io", "AuthorizationPolicy", false, true},
		{"networking.istio.io", "VirtualService", false, false},
	} {
		object := model.Reference{Group: c.group, Kind: c.kind, Namespace: "shop", Name: "made"}
		keeps := func(selector map[string]string) bool {
			workloads := compile.WorkloadSelector{Namespace: "shop", Selector: selector}
			r := &round{outcome: &compile.Outcome{Applications: map[model.Reference]*compile.ApplicationOutcome{owner: {Ref: owner, Workloads: workloads}}}}
			return r.keeps(object, owner)
		}
		if got := keeps(map[string]string{"app": "web"}); got != c.found {
			t.Errorf("%s that does not follow any more is kept: %v", c.kind, got)
		}
		if got := keeps(nil); got != c.lost {
			t.Errorf("%s is kept while the workload cannot be told: %v, want %v", c.kind, got, c.lost)
		}
	}
}
