// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// TestWhereAllPodsAreKnownAnAddressOfNoneHasNoProxy has the files in place of a cluster,
// which is the one that knows all pods.
func TestWhereAllPodsAreKnownAnAddressOfNoneHasNoProxy(t *testing.T) {
	o := &Options{}
	o.Files = []string{"../testdata/answers/requests-that-failed-and-whether-mutual-tls-is-why/in.yaml"}
	s, _, _ := streams.Buffers("")
	m, err := o.Open(t.Context(), s, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	policies, _ := m.Policies()
	log := &diagnosis.Log{}
	log.Add(diagnosis.Place{Line: 1}, `[2026-03-01T10:03:00.000Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.244.2.7:9080 10.9.9.9:38200 - -`, accesslog.Writer{})
	for whole, want := range map[bool]signature.Certainty{false: signature.Likely, true: signature.Certain} {
		f := diagnosis.Diagnose(log, &diagnosis.Mesh{World: m.World, Checker: mtls.New(m.World, policies), Whole: whole}).Failures[0]
		if f.Client != "10.9.9.9" || f.Candidates[0].Cause != signature.PlaintextToStrict || f.Candidates[0].Certainty != want || f.Check != nil && o.fix(f.Check) != "" {
			t.Errorf("whole %v: %s, %+v", whole, f.Client, f.Candidates)
		}
	}
}
