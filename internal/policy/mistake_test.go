// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

func raw(text string) *v1alpha1.JSON { return &v1alpha1.JSON{Raw: []byte(text)} }

func TestAnErrorOfAParametersValueIsThatOfTheBinding(t *testing.T) {
	required := v1alpha1.PolicyParameter{Name: "pattern", Type: v1alpha1.ParameterString, Required: true}
	limit := v1alpha1.PolicyParameter{Name: "limit", Type: v1alpha1.ParameterInteger, Default: raw("1")}
	tested := []v1alpha1.PolicyTest{{Parameters: []v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"^a"`)}}}}
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.PolicyTemplateSpec)
		values []v1alpha1.ParameterValue
		tests  []v1alpha1.PolicyTest
		// want is the field that is to be changed; empty: it is the template's mistake.
		want string
	}{
		{
			"a default would do", expression("10 / params.limit > 0"),
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"a"`)}, {Name: "limit", Value: *raw("0")}}, nil, "spec.parameters[1].value",
		},
		{
			"a value of a test would do", expression("application.name.matches(params.pattern)"),
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"("`)}}, tested, "spec.parameters[0].value",
		},
		{
			"two are wrong", expression("application.name.matches(params.pattern) && 10 / params.limit > 0 || params.limit / params.limit == 2"),
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"("`)}, {Name: "limit", Value: *raw("0")}}, tested, "spec.parameters",
		},
		{
			"no value helps", expression("application.labels['none'] == params.pattern"),
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"a"`)}}, tested, "",
		},
		{
			"a condition", func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].When = "1 / params.limit == 1" },
			[]v1alpha1.ParameterValue{{Name: "limit", Value: *raw("0")}, {Name: "pattern", Value: *raw(`"a"`)}}, nil, "spec.parameters[0].value",
		},
		{
			"a contribution", contribution(v1alpha1.Contribution{Egress: &v1alpha1.EgressContribution{Hosts: "[params.pattern]"}}),
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"*"`)}},
			[]v1alpha1.PolicyTest{{Parameters: []v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"api.example.com"`)}}}}, "spec.parameters[0].value",
		},
		{
			"an assertion", func(s *v1alpha1.PolicyTemplateSpec) {
				s.Constraints, s.Assertions = nil, []v1alpha1.Assertion{outside("[params.pattern]")}
			},
			[]v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"admin"`)}},
			[]v1alpha1.PolicyTest{{Parameters: []v1alpha1.ParameterValue{{Name: "pattern", Value: *raw(`"/admin"`)}}}}, "spec.parameters[0].value",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := template([]v1alpha1.PolicyParameter{required, limit}, constraint(v1alpha1.SubjectApplication, "true"))
			c.change(&spec.Spec)
			spec.Spec.Tests = c.tests
			b := binding("b")
			b.Spec.Parameters = c.values
			s := compiled(model.Policies{Templates: []*v1alpha1.PolicyTemplate{spec}, ClusterBindings: []*v1alpha1.ClusterPolicyBinding{b}}, model.Namespace{Name: "n"})
			app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}
			of := s.Application(app, origin(app))
			found := of.Judge()
			for _, one := range of.Contributions() {
				found = append(found, one.Judgement)
			}
			for _, one := range of.Assertions() {
				found = append(found, one.Judge())
			}
			if len(found) != 1 || found[0].Outcome != policy.Unknown {
				t.Fatalf("found %+v, findings %+v", found, s.Findings)
			}
			j := found[0]
			switch {
			case c.want == "" && !strings.Contains(j.Fix(), "PolicyTemplate"):
				t.Errorf("do: %s", j.Fix())
			case c.want != "" && (!strings.HasSuffix(j.Fix(), "ClusterPolicyBinding b "+c.want) || !strings.Contains(j.Message, "ClusterPolicyBinding b")):
				t.Errorf("%s; do: %s", j.Message, j.Fix())
			}
		})
	}
}

func expression(text v1alpha1.Expression) func(*v1alpha1.PolicyTemplateSpec) {
	return func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].Expression = text }
}
