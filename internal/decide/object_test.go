// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"math/rand/v2"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// policyID is what names of rules are, written as an expression.
var policyID = regexp.MustCompile(`^(?:istio-ext-authz-.*-)?ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]`)

func TestNamesOfRulesAreReadAsTheirExpressionSays(t *testing.T) {
	read := 0
	parts := []string{"istio-ext-authz-", "ns[", "a", "]", "-policy[", "b", "-rule[", "0", "12", "-", "-ns[", "\n", "[", "ns[a]-policy[b]-rule[3]", "+1", "_"}
	for seed := range uint64(50_000) {
		r := rand.New(rand.NewPCG(seed, 0))
		var b strings.Builder
		if r.IntN(2) == 0 {
			b.WriteString("istio-ext-authz-x-")
		}
		for range r.IntN(8) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		var want *Object
		if m := policyID.FindStringSubmatch(b.String()); m != nil {
			n, err := strconv.Atoi(m[3])
			if err != nil {
				continue
			}
			want = &Object{Kind: "AuthorizationPolicy", Namespace: m[1], Name: m[2], Rule: n}
			read++
		}
		if got := PolicyOf(b.String()); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is %v, not %v", b.String(), got, want)
		}
	}
	if read < 1000 {
		t.Errorf("%d names were read: too few to say anything", read)
	}
}
