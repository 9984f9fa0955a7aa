// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
)

// policies hold a namespace to a policy, but for an Application until noon.
const policies = `
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: private}
spec: {title: Nobody listens, owner: security}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyTemplate
metadata: {name: strict-1.0.0}
spec:
  policy: strict
  version: 1.0.0
  title: Workloads take mutual TLS
  severity: High
  remediation: {text: set mutualTLS}
  contributions: [{name: strict, mutualTLS: {mode: Strict}}]
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: strict}
spec: {tier: Mandatory, policy: {name: strict, version: 1.0.0}, mode: Audit}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyBinding
metadata: {name: strict, namespace: cart}
spec: {policy: {name: strict, version: 1.0.0}, mode: Audit}
---
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: cart, namespace: cart}
spec:
  binding: {kind: ClusterPolicyBinding, name: strict}
  subject: {application: cart}
  reason: its client speaks no TLS yet
  expires: "2027-01-31T12:00:00Z"
`

var noon = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

func observedAt(t *testing.T, at time.Time, objects ...client.Object) *observe.State {
	t.Helper()
	state, err := observe.NewState(observe.Options{Mesh: model.DefaultMesh(), Log: slog.New(slog.DiscardHandler)}, objects, at)
	must(t, err)
	return state
}

func TestTheServerJudgesByThePoliciesOfTheClusterAndAtTheMomentThatItIsAskedAbout(t *testing.T) {
	objects := decode(t, policies)
	state := observedAt(t, noon.Add(-time.Hour), objects...)
	p := state.Input.Policies
	if len(p.Goals) != 1 || len(p.Templates) != 1 || len(p.ClusterBindings) != 1 || len(p.Bindings) != 1 || len(p.Exceptions) != 1 {
		t.Errorf("the compiler gets %+v", p)
	}
	if len(state.Objects) != 0 {
		t.Errorf("Istio gets %v", state.Objects)
	}
	in, _, err := examine.Compile(state, nil, noon)
	must(t, err)
	if !in.At.Equal(noon) || !state.Input.At.Equal(noon.Add(-time.Hour)) {
		t.Errorf("tokens are looked at at %s, and the state is of %s", in.At, state.Input.At)
	}
	exception := objects[len(objects)-1]
	exception.SetDeletionTimestamp(&metav1.Time{Time: noon})
	if left := observedAt(t, noon, objects...).Input.Policies.Exceptions; len(left) != 0 {
		t.Errorf("an exception on its way out lets go: %v", left)
	}
}

func TestTestsAreRunAgainWhenPoliciesChangeAndWhenAnExceptionExpires(t *testing.T) {
	before := noon.Add(-time.Hour)
	digest := func(at time.Time, change func([]client.Object) []client.Object) string {
		objects := decode(t, policies)
		if change != nil {
			objects = change(objects)
		}
		return observedAt(t, at, objects...).Digest
	}
	was := digest(before, nil)
	edited := func(edit func(client.Object)) func([]client.Object) []client.Object {
		return func(objects []client.Object) []client.Object {
			for _, o := range objects {
				edit(o)
			}
			return objects
		}
	}
	for name, test := range map[string]struct {
		at     time.Time
		change func([]client.Object) []client.Object
		again  bool
	}{
		"time alone":       {noon.Add(-time.Second), nil, false},
		"the end":          {noon, nil, true},
		"another order":    {before, func(o []client.Object) []client.Object { slices.Reverse(o); return o }, false},
		"a status":         {before, edited(func(o client.Object) { status(o) }), false},
		"a binding's mode": {before, edited(func(o client.Object) { enforce(o) }), true},
		"a reason": {before, edited(func(o client.Object) {
			if e, ok := o.(*v1alpha1.PolicyException); ok {
				e.Spec.Reason = "for another reason"
			}
		}), true},
		"no exception": {before, func(o []client.Object) []client.Object { return o[:len(o)-1] }, true},
	} {
		if again := digest(test.at, test.change) != was; again != test.again {
			t.Errorf("%s: tests are run again: %t", name, again)
		}
	}
}

func status(o client.Object) {
	if b, ok := o.(*v1alpha1.ClusterPolicyBinding); ok {
		b.Status.Rollup.Failing = 1
	}
}

func enforce(o client.Object) {
	if b, ok := o.(*v1alpha1.ClusterPolicyBinding); ok {
		b.Spec.Mode = v1alpha1.ModeEnforce
	}
}
