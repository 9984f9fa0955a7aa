// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/xds"
)

func TestARequestIsInAClassThatIsDecidedAsItIs(t *testing.T) {
	folders := map[string][]string{
		"bookinfo":                   {"../../examples/bookinfo"},
		"what people write in Istio": {"testdata/a-hand-written-policy-is-seen-like-any-other"},
	}
	for name, files := range folders {
		t.Run(name, func(t *testing.T) {
			m := open(t, files...)
			for _, p := range m.Problems {
				if p.Kind == xds.Refused {
					t.Fatalf("Istio refuses %+v", p)
				}
			}
			asked := ask.AgreesWithRandomRequests(t, m.World, 7, 1000)
			t.Log(asked)
			if asked["stopped"] == 0 {
				t.Error("every class was visited")
			}
			if asked["Allow"] < 50 || asked["Deny"] < 50 {
				t.Errorf("the requests were too much alike: %v", asked)
			}
		})
	}
}
