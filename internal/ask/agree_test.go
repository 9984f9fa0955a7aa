// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
)

func TestARequestIsInAClassThatIsDecidedAsItIs(t *testing.T) {
	folders := map[string][]string{
		"bookinfo":                   {"../../examples/bookinfo"},
		"what people write in Istio": {"testdata/a-hand-written-policy-is-seen-like-any-other"},
	}
	for name, files := range folders {
		t.Run(name, func(t *testing.T) {
			asked := ask.AgreesWithRandomRequests(t, open(t, files...).World, 7, 1000)
			t.Log(asked)
			if asked["Allow"] < 50 || asked["Deny"] < 50 {
				t.Errorf("the requests were too much alike: %v", asked)
			}
		})
	}
}
