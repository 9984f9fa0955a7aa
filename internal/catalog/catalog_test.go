// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/schema"
)

func entries(t *testing.T) []catalog.Entry {
	t.Helper()
	out, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 24 {
		t.Fatalf("the catalog has %d policies", len(out))
	}
	return out
}

func trial(t *testing.T, template *v1alpha1.PolicyTemplate) []catalog.Result {
	t.Helper()
	results, err := catalog.Test(t.Context(), template)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// problems are those of all tests together.
func problems(t *testing.T, template *v1alpha1.PolicyTemplate) []string {
	t.Helper()
	var out []string
	for _, r := range trial(t, template) {
		for _, problem := range r.Problems {
			out = append(out, r.Name+": "+problem)
		}
	}
	return out
}

func TestEveryPolicyOfTheCatalogDoesWhatItsTestsSay(t *testing.T) {
	for _, e := range entries(t) {
		t.Run(e.Name(), func(t *testing.T) {
			if len(e.Template.Spec.Tests) == 0 {
				t.Fatal("there are no tests")
			}
			for _, problem := range problems(t, e.Template) {
				t.Error(problem)
			}
		})
	}
}

// A rule of which no test shows both sides may as well say something else.
func TestEveryRuleOfTheCatalogIsTestedBothWays(t *testing.T) {
	for _, e := range entries(t) {
		t.Run(e.Name(), func(t *testing.T) {
			missing, err := catalog.Untested(t.Context(), e.Template, trial(t, e.Template))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range missing {
				t.Error(m)
			}
		})
	}
}

// mutant is a policy with one mistake in it.
type mutant struct {
	name string
	make func(*v1alpha1.PolicyTemplateSpec)
}

// mutants are mistakes in a policy of which each changes what it does.
func mutants(spec *v1alpha1.PolicyTemplateSpec) []mutant {
	var out []mutant
	for i := range spec.Constraints {
		out = append(out, constraintMutants(spec, i)...)
	}
	for i := range spec.Contributions {
		out = append(out, contributionMutants(spec, i)...)
	}
	for i := range spec.Assertions {
		out = append(out, assertionMutants(spec, i)...)
	}
	return out
}

func assertionMutants(spec *v1alpha1.PolicyTemplateSpec, i int) []mutant {
	a := &spec.Assertions[i]
	change := func(how string, to func(*v1alpha1.Assertion)) mutant {
		return mutant{string(a.Name) + " " + how, func(s *v1alpha1.PolicyTemplateSpec) { to(&s.Assertions[i]) }}
	}
	out := []mutant{
		change("about nothing", func(a *v1alpha1.Assertion) { a.When = "false" }),
		change("of another path", func(a *v1alpha1.Assertion) { a.Request.Paths = "['/another']" }),
		change("without a path", func(a *v1alpha1.Assertion) { a.Request.Paths = "[]" }),
		change("of another method", func(a *v1alpha1.Assertion) { a.Request.Methods = "['TRACE']" }),
		change("with a token", func(a *v1alpha1.Assertion) { a.Request.Token = &v1alpha1.TestToken{Issuer: "another"} }),
		change("expects the contrary", func(a *v1alpha1.Assertion) { a.Expect = v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictAllow} }),
		change("expects a code", func(a *v1alpha1.Assertion) { a.Expect.Code = 418 }),
	}
	if a.When != "" {
		out = append(out,
			change("about everything", func(a *v1alpha1.Assertion) { a.When = "" }),
			change("about the others", func(a *v1alpha1.Assertion) { a.When = not(a.When) }))
	}
	if a.From.Internet != nil {
		return append(out, change("from inside", func(a *v1alpha1.Assertion) { a.From = v1alpha1.AssertionClient{Namespaces: "true"} }))
	}
	return append(out,
		change("from the others", func(a *v1alpha1.Assertion) { a.From.Namespaces = not(a.From.Namespaces) }),
		change("from outside", func(a *v1alpha1.Assertion) { a.From = v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}} }))
}

func constraintMutants(spec *v1alpha1.PolicyTemplateSpec, i int) []mutant {
	c := &spec.Constraints[i]
	change := func(how string, to func(*v1alpha1.Constraint)) mutant {
		return mutant{string(c.Name) + " " + how, func(s *v1alpha1.PolicyTemplateSpec) { to(&s.Constraints[i]) }}
	}
	out := []mutant{
		change("negated", func(c *v1alpha1.Constraint) { c.Expression = not(c.Expression) }),
		change("never met", func(c *v1alpha1.Constraint) { c.Expression = "false" }),
		change("always met", func(c *v1alpha1.Constraint) { c.Expression = "true" }),
	}
	if c.When != "" {
		out = append(out,
			change("about everything", func(c *v1alpha1.Constraint) { c.When = "" }),
			change("about the others", func(c *v1alpha1.Constraint) { c.When = not(c.When) }))
	}
	return out
}

func contributionMutants(spec *v1alpha1.PolicyTemplateSpec, i int) []mutant {
	c := &spec.Contributions[i]
	change := func(how string, to func(*v1alpha1.Contribution)) mutant {
		return mutant{string(c.Name) + " " + how, func(s *v1alpha1.PolicyTemplateSpec) { to(&s.Contributions[i]) }}
	}
	out := []mutant{{string(c.Name) + " dropped", func(s *v1alpha1.PolicyTemplateSpec) {
		s.Contributions = slices.Delete(s.Contributions, i, i+1)
		// A policy without any rule would be refused for that.
		s.Constraints = append(s.Constraints, v1alpha1.Constraint{Name: "nothing", Subject: v1alpha1.SubjectApplication, Expression: "true", Message: "never"})
	}}}
	switch {
	case c.DenyAccess != nil:
		out = append(out, change("for the others", func(c *v1alpha1.Contribution) { others(c.DenyAccess) }))
	case c.RestrictAccess != nil:
		out = append(out, change("to the others", func(c *v1alpha1.Contribution) { others(c.RestrictAccess) }))
	case c.Authentication != nil:
		if c.Authentication.When != "" {
			out = append(out, change("for all", func(c *v1alpha1.Contribution) { c.Authentication.When = "" }))
		}
		if c.Authentication.Scopes != "" {
			out = append(out, change("without scopes", func(c *v1alpha1.Contribution) { c.Authentication.Scopes = "" }))
		}
	case c.Timeout != nil:
		out = append(out,
			change("with another maximum", func(c *v1alpha1.Contribution) { c.Timeout.Maximum = "duration('23h')" }),
			change("without a fallback", func(c *v1alpha1.Contribution) { c.Timeout.Fallback = "" }))
	case c.Retries != nil:
		out = append(out, change("with another maximum", func(c *v1alpha1.Contribution) { c.Retries.Maximum = "2" }))
	case c.Egress != nil:
		out = append(out,
			change("to one host more", func(c *v1alpha1.Contribution) { c.Egress.Hosts += " + ['api.example.net']" }),
			change("to nobody", func(c *v1alpha1.Contribution) { c.Egress.Hosts = "[]" }))
	case c.TLS != nil:
		out = append(out, change("lower", func(c *v1alpha1.Contribution) { c.TLS.MinimumVersion = "'TLSv1_2'" }))
	}
	return out
}

// others makes a contribution mean all callers that it does not mean.
func others(a *v1alpha1.AccessContribution) {
	if a.From != "" {
		a.From = not(a.From)
	} else {
		a.Applications = not(a.Applications)
	}
}

func not(e v1alpha1.Expression) v1alpha1.Expression { return "!(" + e + ")" }

func TestTheTestsOfEveryPolicyNoticeEveryMistake(t *testing.T) {
	for _, e := range entries(t) {
		for _, m := range mutants(&e.Template.Spec) {
			t.Run(e.Name()+" "+m.name, func(t *testing.T) {
				broken := e.Template.DeepCopy()
				m.make(&broken.Spec)
				found := problems(t, broken)
				noticed := slices.ContainsFunc(found, func(p string) bool {
					return strings.Contains(p, "should") || strings.Contains(p, "cannot be told")
				})
				if !noticed {
					t.Errorf("no test notices it: %q", found)
				}
			})
		}
	}
}

func TestEveryPolicyOfTheCatalogSaysWhatItIsFor(t *testing.T) {
	for _, e := range entries(t) {
		t.Run(e.Name(), func(t *testing.T) {
			spec := &e.Template.Spec
			if len(spec.Description) < 80 || len(spec.Controls) == 0 {
				t.Error("the description is short, or no controls are named")
			}
			for _, c := range spec.Controls {
				if scheme, _, _ := strings.Cut(string(c), ":"); !slices.Contains([]string{"nist-800-53", "pci-dss-4.0", "soc2"}, scheme) {
					t.Errorf("control %s is of no catalog that the others name", c)
				}
			}
			for _, p := range spec.Parameters {
				if p.Description == "" {
					t.Errorf("parameter %s has no description", p.Name)
				}
			}
		})
	}
}

func TestBindingsThatAreShownCanBeApplied(t *testing.T) {
	for _, e := range entries(t) {
		t.Run(e.Name(), func(t *testing.T) {
			for _, problem := range applied(t, e.Template, catalog.Binding(e.Template)) {
				t.Error(problem)
			}
		})
	}
}

// applied says what an API server or the evaluator would refuse of a binding of a
// template, and of the template.
func applied(t *testing.T, template *v1alpha1.PolicyTemplate, binding string) []string {
	t.Helper()
	checker, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	set, err := document.Read([]string{document.Stdin}, strings.NewReader(binding), document.Options{Scope: checker.Scope})
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := checker.Read(t.Context(), set)
	findings = append(findings, set.Findings...)
	builder := load.NewBuilder(model.DefaultMesh())
	builder.Add(template)
	for _, object := range objects {
		builder.Add(object.Value)
	}
	compiled := policy.Compile(model.NewSnapshot(builder.Input()))
	if len(compiled.Bindings) != 1 {
		t.Errorf("%d bindings", len(compiled.Bindings))
	}
	var out []string
	for _, f := range append(findings, compiled.Findings...) {
		out = append(out, f.Field+": "+f.Message)
	}
	return out
}

func TestAPolicyToBeginWithPassesItsOwnTests(t *testing.T) {
	templates, findings, err := catalog.Read(t.Context(), []string{document.Stdin}, strings.NewReader(catalog.Starter("another-name")))
	if err != nil || len(findings) > 0 || len(templates) != 1 {
		t.Fatalf("%d templates, %v, %v", len(templates), findings, err)
	}
	if name := templates[0].Name; name != "another-name-0.1.0" {
		t.Errorf("its name is %s", name)
	}
	results := trial(t, templates[0])
	missing, err := catalog.Untested(t.Context(), templates[0], results)
	if err != nil || len(results) < 2 {
		t.Fatalf("%d tests: %v", len(results), err)
	}
	for _, problem := range append(problems(t, templates[0]), missing...) {
		t.Error(problem)
	}
}

// What a test cannot mean is a problem of the test and not something that was found.
func TestATestThatCannotBeRunFails(t *testing.T) {
	for _, c := range []struct{ sentence, from, to, want string }{
		{"an object with a field that does not exist", "service: shop", "servise: shop", "there is no field servise"},
		{"an object of a kind that nothing is asked of", "kind: Application", "kind: Gadget", "there is no kind Gadget"},
		{"an object that policies do not know", "apiVersion: trellis.dev/v1alpha1\n      kind: Application", "apiVersion: v1\n      kind: Event", "are not read"},
		{"a parameter that the policy does not have", "{name: exempt, value: [web/shop]}", "{name: exemt, value: [web/shop]}", "no parameter exemt"},
		{"a parameter of another type", "{name: exempt, value: [web/shop]}", "{name: exempt, value: 7}", "a list of strings"},
		{"an expression that does not compile", ".size() > 0", ".size() > ''", "no matching overload"},
		{"an expression that fails", "route.?authentication.?scopes.orValue([]).size() > 0", "route.authentication.scopes.size() > 0", "cannot be told"},
		{"something that is not refused", "spec.routes[1]", "spec.routes[0]", "should refuse Application web/shop spec.routes[0], and does not"},
		{"something that is refused and not expected", "spec.routes[1]", "spec.routes[0]", "refuses Application web/shop spec.routes[1], and should not"},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			text := catalog.Starter("my-policy")
			if !strings.Contains(text, c.from) {
				t.Fatalf("the starter has no %q", c.from)
			}
			templates, findings, err := catalog.Read(t.Context(), []string{document.Stdin}, strings.NewReader(strings.Replace(text, c.from, c.to, 1)))
			if err != nil || len(templates) != 1 {
				t.Fatalf("%d templates, %v, %v", len(templates), findings, err)
			}
			found := problems(t, templates[0])
			if !slices.ContainsFunc(found, func(p string) bool { return strings.Contains(p, c.want) }) {
				t.Errorf("none of %q says %q", found, c.want)
			}
		})
	}
}

func TestAPolicyIsFoundByItsNameOrWhatItResembles(t *testing.T) {
	for name, want := range map[string]string{"no-any-caller": "", "no-any-caller-1.0.0": "", "no-any-callers": "no-any-caller", "xyz": "trellis catalog list"} {
		entry, err := catalog.Find(name)
		switch {
		case want == "" && (err != nil || entry.Name() != "no-any-caller"):
			t.Errorf("%s: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
