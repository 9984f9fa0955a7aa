// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
)

// TestOptions are what the command test was asked.
type TestOptions struct {
	Output string
	// Files hold templates; none: those of the catalog that have the Names, or all.
	Files, Names []string
}

// ErrNoTemplates is returned where files have nothing to test.
var ErrNoTemplates = errors.New("there is no PolicyTemplate in the files: trellis catalog new NAME prints one to begin with")

// Tests are what came of tests, as JSON and YAML have it. Fields are added and never
// change their meaning.
type Tests struct {
	Policies []Tested `json:"policies"`
	Summary  Summary  `json:"summary"`
}

// Tested are the tests of a policy.
type Tested struct {
	Policy  string           `json:"policy"`
	Version string           `json:"version"`
	Tests   []catalog.Result `json:"tests"`
	// Untested says of which rules the tests show one side alone.
	Untested []string `json:"untested,omitempty"`
}

// Summary counts tests.
type Summary struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
}

func newTest(s *streams.Streams) *cobra.Command {
	o := &TestOptions{}
	cmd := &cobra.Command{
		Use:   "test [NAME...]",
		Short: "Run the tests of policies",
		Long: `Run the tests that policies carry: those of the catalog, or with -f those of your own.

Each test is objects, to which the policy is bound with mode Enforce. It passes where the
policy refuses and adds exactly what the test says. What a test does not state and what
nothing would be published without is made up: namespaces without labels, Services,
workloads and certificates. The day of a test is ` + catalog.Today.Format("2006-01-02") + `, exceptions count as
approved, and the name of the binding is ` + catalog.BindingName + `.

A policy with a rule of which no test shows both sides is warned of.

Exit code 0: all passed. 1: wrong usage, a file that cannot be opened, or a fault of
Trellis. 2: a test failed, or the files have errors.`,
		Example: `  # Those of the catalog
  trellis catalog test
  trellis catalog test no-anonymous-routes mutual-tls-everywhere

  # A policy of your own
  trellis catalog new my-policy > my-policy.yaml
  trellis catalog test -f my-policy.yaml`,
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			o.Names = args
			return o.run(cmd.Context(), s)
		},
	}
	output.AddFlag(cmd, &o.Output)
	cmd.Flags().StringArrayVarP(&o.Files, "filename", "f", nil, `file or directory with PolicyTemplates, or "-" for standard input; may be repeated`)
	return cmd
}

func (o *TestOptions) run(ctx context.Context, s *streams.Streams) error {
	templates, findings, err := o.templates(ctx, s.In)
	if err != nil {
		return err
	}
	if err := report.Findings(s.Err, findings, s.ErrColour); err != nil {
		return fmt.Errorf("writing what is wrong with the files: %w", err)
	}
	refused := slices.ContainsFunc(findings, func(f model.Finding) bool { return f.Severity == model.SeverityError })
	if len(templates) == 0 && !refused {
		return ErrNoTemplates
	}
	tests, err := Run(ctx, templates)
	if err != nil {
		return err
	}
	if err := output.Write(s.Out, o.Output, tests, func(w io.Writer) error { return tests.text(w, s.OutColour) }); err != nil {
		return err
	}
	if refused || tests.Summary.Failed > 0 {
		return exit.ErrFindings
	}
	return nil
}

// templates are those that were asked for.
func (o *TestOptions) templates(ctx context.Context, stdin io.Reader) ([]*v1alpha1.PolicyTemplate, []model.Finding, error) {
	switch {
	case len(o.Files) > 0 && len(o.Names) > 0:
		return nil, nil, errors.New("names are of the catalog's policies and -f is for others: give one of the two")
	case len(o.Files) > 0:
		return catalog.Read(ctx, o.Files, stdin)
	}
	entries, err := catalog.Embedded()
	if err != nil {
		return nil, nil, err
	}
	var out []*v1alpha1.PolicyTemplate
	if len(o.Names) == 0 {
		for i := range entries {
			out = append(out, entries[i].Template)
		}
	}
	for _, name := range o.Names {
		entry, err := catalog.Find(name)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, entry.Template)
	}
	return out, nil, nil
}

// Run runs the tests of templates. A template without tests fails: nothing shows what it
// does.
func Run(ctx context.Context, templates []*v1alpha1.PolicyTemplate) (*Tests, error) {
	out := &Tests{Policies: []Tested{}}
	for _, template := range templates {
		results, err := catalog.Test(ctx, template)
		if err != nil {
			return nil, err
		}
		one := Tested{Policy: string(template.Spec.Policy), Version: template.Spec.Version, Tests: results}
		if len(results) == 0 {
			one.Tests = []catalog.Result{{Name: "has tests", Problems: []string{"the policy has no tests, so nothing shows what it does; write spec.tests"}}}
		}
		failed := 0
		for i := range one.Tests {
			if !one.Tests[i].Passed() {
				failed++
			}
		}
		out.Summary.Failed += failed
		out.Summary.Passed += len(one.Tests) - failed
		if failed == 0 {
			if one.Untested, err = catalog.Untested(ctx, template, results); err != nil {
				return nil, err
			}
		}
		out.Policies = append(out.Policies, one)
	}
	return out, nil
}

func (t *Tests) text(w io.Writer, colour bool) error {
	var b strings.Builder
	for i := range t.Policies {
		p := &t.Policies[i]
		for k := range p.Tests {
			word, tint, reset := "passed", "\x1b[32m", "\x1b[0m"
			if !p.Tests[k].Passed() {
				word, tint = "failed", "\x1b[31m"
			}
			if !colour {
				tint, reset = "", ""
			}
			fmt.Fprintf(&b, "%s%s%s: %s %s: %s\n", tint, word, reset, p.Policy, p.Version, output.Printable(p.Tests[k].Name))
			for _, problem := range p.Tests[k].Problems {
				fmt.Fprintf(&b, "  %s\n", output.Printable(problem))
			}
		}
		for _, missing := range p.Untested {
			fmt.Fprintf(&b, "warning: %s %s: %s\n", p.Policy, p.Version, output.Printable(missing))
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed\n", t.Summary.Passed, t.Summary.Failed)
	_, err := io.WriteString(w, b.String())
	return err
}
