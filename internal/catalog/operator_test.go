// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// slips are small mistakes in an expression, each a text and what somebody wrote instead.
var slips = [][2]string{
	{"&&", "||"}, {"||", "&&"}, {"==", "!="}, {"!=", "=="}, {"<=", "<"}, {" > ", " >= "}, {".exists(", ".all("}, {".all(", ".exists("},
	{"startsWith(", "endsWith("}, {"endsWith(", "startsWith("}, {" + '/'", ""}, {"'/' + ", ""}, {"'.' + ", ""}, {"!has(", "has("},
}

// harmless are slips that change nothing, with the reason.
var harmless = map[string]string{
	"callers-name-routes  > → >= ":                        "a list of routes is never empty",
	"no-cross-namespace-destination-rules .all(→.exists(": "a DestinationRule has one host",
}

// expressions are all of a policy.
func expressions(s *v1alpha1.PolicyTemplateSpec) []*v1alpha1.Expression {
	var out []*v1alpha1.Expression
	for i := range s.Constraints {
		out = append(out, &s.Constraints[i].When, &s.Constraints[i].Expression)
	}
	for i := range s.Contributions {
		c := &s.Contributions[i]
		switch {
		case c.DenyAccess != nil:
			out = append(out, &c.DenyAccess.From)
		case c.RestrictAccess != nil:
			out = append(out, &c.RestrictAccess.From)
		case c.Authentication != nil:
			out = append(out, &c.Authentication.When, &c.Authentication.Scopes)
		case c.Egress != nil:
			out = append(out, &c.Egress.Hosts)
		}
	}
	for i := range s.Assertions {
		a := &s.Assertions[i]
		out = append(out, &a.When, &a.From.Namespaces, &a.Request.Paths, &a.Request.Methods)
	}
	return out
}

// slipped are policies with one slip each, by what it is.
func slipped(spec *v1alpha1.PolicyTemplateSpec) []mutant {
	var out []mutant
	for i, e := range expressions(spec) {
		text := string(*e)
		for _, slip := range slips {
			for at := strings.Index(text, slip[0]); at >= 0; {
				wrong := v1alpha1.Expression(text[:at] + slip[1] + text[at+len(slip[0]):])
				out = append(out, mutant{slip[0] + "→" + slip[1], func(s *v1alpha1.PolicyTemplateSpec) { *expressions(s)[i] = wrong }})
				next := strings.Index(text[at+1:], slip[0])
				if next < 0 {
					break
				}
				at += 1 + next
			}
		}
	}
	for i := range spec.Parameters {
		out = append(out, defaults(spec.Parameters[i], i)...)
	}
	return out
}

// defaults are policies of which a parameter has another default.
func defaults(p v1alpha1.PolicyParameter, i int) []mutant {
	if p.Default == nil {
		return nil
	}
	set := func(how string, value any) mutant {
		return mutant{"default of " + p.Name + " " + how, func(s *v1alpha1.PolicyTemplateSpec) {
			raw, err := json.Marshal(value)
			if err != nil {
				panic(err)
			}
			s.Parameters[i].Default = &v1alpha1.JSON{Raw: raw}
		}}
	}
	var list []string
	var number int64
	var yes bool
	switch {
	case json.Unmarshal(p.Default.Raw, &list) == nil:
		var out []mutant
		for k, one := range list {
			out = append(out, set("without "+one, append(append([]string{}, list[:k]...), list[k+1:]...)))
		}
		return out
	case json.Unmarshal(p.Default.Raw, &number) == nil:
		return []mutant{set("one more", number+1)}
	case json.Unmarshal(p.Default.Raw, &yes) == nil:
		return []mutant{set("the contrary", !yes)}
	}
	return nil
}

func TestTheTestsOfEveryPolicyNoticeEverySlip(t *testing.T) {
	tried := 0
	for _, e := range entries(t) {
		for k, m := range slipped(&e.Template.Spec) {
			if harmless[e.Name()+" "+m.name] != "" {
				continue
			}
			tried++
			t.Run(fmt.Sprintf("%s %d %s", e.Name(), k, m.name), func(t *testing.T) {
				broken := e.Template.DeepCopy()
				m.make(&broken.Spec)
				if len(problems(t, broken)) == 0 {
					t.Error("no test notices it")
				}
			})
		}
	}
	if tried < 200 {
		t.Errorf("only %d slips", tried)
	}
}
