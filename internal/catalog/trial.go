// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/calls"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/schema"
)

// Today is the moment at which tests judge whether exceptions have expired: a test gives
// the same on every day.
var Today = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Result is what came of one test of a policy.
type Result struct {
	// Name of the test.
	Name string `json:"name"`
	// Problems are all in which the policy did not do what the test says; none where it
	// has passed.
	Problems []string `json:"problems,omitempty"`
	// Found is what it did.
	Found Found `json:"-"`
}

// Passed reports whether the policy did what the test says.
func (r *Result) Passed() bool { return len(r.Problems) == 0 }

// Found is what a policy does with the objects of a test.
type Found struct {
	Violations []v1alpha1.ExpectedViolation
	Effects    []v1alpha1.ExpectedEffect
}

// Test runs the tests of a policy. What is wrong with the policy itself is a problem of
// each test; an error is a fault of the build.
func Test(ctx context.Context, template *v1alpha1.PolicyTemplate) ([]Result, error) {
	checker, err := schema.Embedded()
	if err != nil {
		return nil, err
	}
	out := make([]Result, 0, len(template.Spec.Tests))
	for i := range template.Spec.Tests {
		out = append(out, run(ctx, checker, template, &template.Spec.Tests[i]))
	}
	return out, nil
}

func run(ctx context.Context, checker *schema.Checker, template *v1alpha1.PolicyTemplate, test *v1alpha1.PolicyTest) Result {
	out := Result{Name: test.Name}
	builder := load.NewBuilder(model.DefaultMesh())
	if out.Problems = addObjects(ctx, checker, builder, test); len(out.Problems) > 0 {
		return out
	}
	in := builder.Input()
	in.At = Today
	surround(&in)
	if err := approve(in.Policies.Exceptions); err != nil {
		out.Problems = []string{err.Error()}
		return out
	}
	in.Policies.Templates = append(in.Policies.Templates, template)
	in.Policies.ClusterBindings = append(in.Policies.ClusterBindings, bind(template, test.Parameters))
	snapshot := model.NewSnapshot(in)
	graph := intent.Resolve(snapshot)
	calls.Resolve(snapshot, graph)
	out.Found, out.Problems = found(graph, template)
	out.Found.Effects = effects(graph, snapshot, template)
	out.Problems = append(out.Problems, compareViolations(out.Found.Violations, test.Violations)...)
	out.Problems = append(out.Problems, compareEffects(out.Found.Effects, test.Effects)...)
	return out
}

// addObjects reads the objects of a test as files are read, and says what is wrong with
// them.
func addObjects(ctx context.Context, checker *schema.Checker, builder *load.Builder, test *v1alpha1.PolicyTest) []string {
	var text bytes.Buffer
	for i := range test.Objects {
		text.WriteString("---\n")
		text.Write(test.Objects[i].Raw)
		text.WriteString("\n")
	}
	options := document.Options{Cluster: model.DefaultMesh().Cluster, Scope: checker.Scope}
	set, err := document.Read([]string{document.Stdin}, io.Reader(&text), options)
	if err != nil {
		return []string{err.Error()}
	}
	objects, refused := checker.Read(ctx, set)
	var problems []string
	for _, f := range model.SortFindings(slices.Concat(set.Findings, refused)) {
		problems = append(problems, fmt.Sprintf("%s %s: %s; %s", f.Object, f.Field, f.Message, f.Fix))
	}
	for kind := range set.Skipped {
		problems = append(problems, unread(kind.String()))
	}
	for _, object := range objects {
		if !builder.Add(object.Value) {
			problems = append(problems, unread(object.Ref.Kind))
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

func unread(kind string) string {
	return fmt.Sprintf("objects of kind %s are not read, so no policy is asked about them; take them out", kind)
}

// BindingName is the name of the binding under which tests run, by which exceptions
// among their objects know it.
const BindingName = "test"

// bind binds a template to everything, so that nothing but its own expressions leaves
// anything out.
func bind(template *v1alpha1.PolicyTemplate, parameters []v1alpha1.ParameterValue) *v1alpha1.ClusterPolicyBinding {
	return &v1alpha1.ClusterPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: BindingName},
		Spec: v1alpha1.ClusterPolicyBindingSpec{
			Tier: v1alpha1.TierMandatory,
			PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
				Policy:     v1alpha1.PolicyVersion{Name: template.Spec.Policy, Version: template.Spec.Version},
				Mode:       v1alpha1.ModeEnforce,
				Parameters: parameters,
			},
		},
	}
}

// approve approves exceptions: what tests are about is what holds of those that somebody
// who may has approved. They are the test's own copies.
func approve(exceptions []*v1alpha1.PolicyException) error {
	for _, e := range exceptions {
		digest, err := policy.Digest(e)
		if err != nil {
			return err
		}
		e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "test", Of: digest}
	}
	return nil
}

// found collects what the policy did. What could not be evaluated is a problem whatever
// the test says: it is closed, and nobody means that by a policy.
func found(graph *intent.Graph, template *v1alpha1.PolicyTemplate) (Found, []string) {
	var out Found
	var problems []string
	for _, f := range graph.Policies.Findings {
		if f.Severity == model.SeverityError && !notHonoured(f) {
			problems = append(problems, fmt.Sprintf("%s %s: %s", f.Object, f.Field, f.Message))
		}
	}
	for i := range graph.Judgements {
		j := &graph.Judgements[i]
		if j.Binding.Template == nil || j.Binding.Template.Name != template.Name {
			continue
		}
		switch j.Outcome {
		case policy.Fail:
			out.Violations = append(out.Violations, v1alpha1.ExpectedViolation{Constraint: v1alpha1.LabelName(j.Rule), Subject: j.Subject.String()})
		case policy.Unknown:
			problems = append(problems, fmt.Sprintf("%s: %s", j.Subject, j.Message))
		case policy.Pass, policy.Exempt:
		}
	}
	for _, a := range graph.Assertions {
		if a.Broken != "" && a.Binding.Template.Name == template.Name {
			problems = append(problems, fmt.Sprintf("%s: whether rule %s holds cannot be told: %s", a.Subject, a.Rule, a.Broken))
		}
	}
	return out, problems
}

// notHonoured reports whether a finding is about an exception that is not honoured for a
// reason that a test may be about.
func notHonoured(f model.Finding) bool {
	return f.Object.Kind == "PolicyException" && (f.Reason == "PolicyViolated" || f.Reason == "Expired")
}

func compareViolations(got, want []v1alpha1.ExpectedViolation) []string {
	var problems []string
	for _, v := range want {
		if !slices.Contains(got, v) {
			problems = append(problems, fmt.Sprintf("%s should refuse %s, and does not", v.Constraint, v.Subject))
		}
	}
	for _, v := range got {
		if !slices.Contains(want, v) {
			problems = append(problems, fmt.Sprintf("%s refuses %s, and should not", v.Constraint, v.Subject))
		}
	}
	return problems
}

func compareEffects(got, want []v1alpha1.ExpectedEffect) []string {
	var problems []string
	for _, e := range want {
		if !slices.Contains(got, e) {
			problems = append(problems, fmt.Sprintf("%s should have the effect that %s %s, and has not", e.Contribution, e.Subject, e.Effect))
		}
	}
	for _, e := range got {
		if !slices.Contains(want, e) {
			problems = append(problems, fmt.Sprintf("%s has the effect that %s %s, and should not", e.Contribution, e.Subject, e.Effect))
		}
	}
	return problems
}
