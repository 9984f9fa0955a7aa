// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"reflect"
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/trellis-mesh/trellis/internal/compile"
)

// body is the object as it is sent, decoded so that it compares with what the
// API server gives back.
func body(p compile.Packed) (*unstructured.Unstructured, error) {
	o, err := p.Unpack()
	if err != nil {
		return nil, err
	}
	raw, err := o.JSON()
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", o.Ref, err)
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &u.Object); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", o.Ref, err)
	}
	return u, nil
}

// allows reports whether an object is a policy of ALLOW rules.
func allows(o compile.Object) bool {
	p, ok := o.Value.(*securityv1.AuthorizationPolicy)
	return ok && p.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_ALLOW
}

// loosens reports whether putting next in place of the live policy would drop a
// denial: a DENY rule, or the pods that it is for.
func loosens(live, next *unstructured.Unstructured) bool {
	spec, _ := live.Object["spec"].(map[string]any)
	if action, _ := spec["action"].(string); action != "DENY" {
		return false
	}
	nextSpec, _ := next.Object["spec"].(map[string]any)
	if action, _ := nextSpec["action"].(string); action != "DENY" {
		return true
	}
	for _, scope := range []string{"selector", "targetRef", "targetRefs"} {
		if !reflect.DeepEqual(spec[scope], nextSpec[scope]) {
			return true
		}
	}
	rules, _ := spec["rules"].([]any)
	nextRules, _ := nextSpec["rules"].([]any)
	return slices.ContainsFunc(rules, func(rule any) bool {
		return !slices.ContainsFunc(nextRules, func(r any) bool { return reflect.DeepEqual(r, rule) })
	})
}

// maxFields bounds how many differing fields an Edit lists.
const maxFields = 8

// differing lists the paths at which two objects differ, as far as a digest
// covers them.
func differing(live, wanted *unstructured.Unstructured) []string {
	var out []string
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		if len(out) == maxFields || reflect.DeepEqual(a, b) {
			return
		}
		am, aok := a.(map[string]any)
		bm, bok := b.(map[string]any)
		if aok && bok {
			for _, key := range keysOf(am, bm) {
				walk(join(path, key), am[key], bm[key])
			}
			return
		}
		al, aok := a.([]any)
		bl, bok := b.([]any)
		if aok && bok && len(al) == len(bl) {
			for i := range al {
				walk(fmt.Sprintf("%s[%d]", path, i), al[i], bl[i])
			}
			return
		}
		out = append(out, path)
	}
	walk("", effective(live.Object), effective(wanted.Object))
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keysOf(a, b map[string]any) []string {
	seen := make(map[string]bool, len(a)+len(b))
	for k := range a {
		seen[k] = true
	}
	for k := range b {
		seen[k] = true
	}
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
