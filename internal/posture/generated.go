// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package posture

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Rule is one rule of a generated object that stands there for a binding.
type Rule struct {
	Object model.Reference
	// Index of the rule in its object.
	Index  int
	Shadow bool
}

// ID is how proxies name the rule, in their logs and counters (istio.io/istio,
// pilot/pkg/security/authz/builder); empty for what is no rule of authorization.
func (r Rule) ID() string {
	if r.Object.Kind != "AuthorizationPolicy" {
		return ""
	}
	return "ns[" + r.Object.Namespace + "]-policy[" + r.Object.Name + "]-rule[" + strconv.Itoa(r.Index) + "]"
}

// Made are the rules that an outcome has for each binding, by the binding and the owner of
// the object, in the order in which objects are applied.
type Made map[model.Reference]map[model.Reference][]Rule

// MadeBy reads the provenance of everything that was generated.
func MadeBy(p *Posture, outcome *compile.Outcome) Made {
	bindings := map[string]model.Reference{}
	out := Made{}
	for _, b := range p.Bindings {
		bindings[b.Ref.String()] = b.Ref
		out[b.Ref] = map[model.Reference][]Rule{}
	}
	for i := range outcome.Objects {
		o := &outcome.Objects[i]
		if o.Value == nil || len(o.Owners) == 0 {
			continue
		}
		annotations := o.Value.GetAnnotations()
		var origin compile.Provenance
		if json.Unmarshal([]byte(annotations[compile.AnnotationOrigin]), &origin) != nil {
			continue
		}
		_, shadow := annotations[compile.AnnotationDryRun]
		for k := range origin.Rules {
			name, _, _, _ := origin.Rule(k)
			if ref, ok := bindings[name]; ok {
				out[ref][o.Owners[0]] = append(out[ref][o.Owners[0]], Rule{Object: o.Ref, Index: k, Shadow: shadow})
			}
		}
	}
	return out
}

// Of are the rules that stand for a binding at an owner.
func (m Made) Of(binding, owner model.Reference) []Rule { return slices.Clone(m[binding][owner]) }
