// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

func newShow(s *streams.Streams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a policy, and how it is bound",
		Long: `Show what a policy of the catalog does and what may be set, the controls that it helps
to meet, what to do where it does not hold, and a binding that is ready to be applied.

-o yaml is the PolicyTemplate itself, as a cluster is given it.`,
		Example: `  # What does it do?
  trellis catalog show isolate-environments

  # Its PolicyTemplate, to be applied
  trellis catalog show isolate-environments -o yaml > isolate-environments.yaml`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := output.CheckFormat(format); err != nil {
				return err
			}
			entry, err := catalog.Find(args[0])
			if err != nil {
				return err
			}
			if format == "yaml" {
				// As it was written: its comments are for people.
				if _, err := s.Out.Write(entry.Text); err != nil {
					return fmt.Errorf("writing what was found: %w", err)
				}
				return nil
			}
			// As it was written, without fields that only a cluster fills in.
			var value map[string]any
			if err := yaml.Unmarshal(entry.Text, &value); err != nil {
				return fmt.Errorf("reading policy %s: %w", entry.Name(), err)
			}
			return output.Write(s.Out, format, value, func(w io.Writer) error { return describe(w, entry.Template) })
		},
	}
	output.AddFlag(cmd, &format)
	return cmd
}

// describe writes a template for people.
func describe(w io.Writer, t *v1alpha1.PolicyTemplate) error {
	spec := &t.Spec
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s (%s)\n%s\n", spec.Policy, spec.Version, strings.ToLower(string(spec.Severity)), output.Printable(spec.Title))
	if text := strings.TrimSpace(spec.Description); text != "" {
		b.WriteString("\n" + indented(text, "  ") + "\n")
	}
	section(&b, "Parameters", parameters(spec))
	section(&b, "Rules", rules(spec))
	if len(spec.Controls) > 0 {
		controls := make([]string, len(spec.Controls))
		for i, c := range spec.Controls {
			controls[i] = string(c)
		}
		section(&b, "Controls", []string{strings.Join(controls, ", ")})
	}
	section(&b, "Remediation", append([]string{spec.Remediation.Text}, nonEmpty(string(spec.Remediation.Link))...))
	fmt.Fprintf(&b, "\nTests: %d, run by trellis catalog test %s\n", len(spec.Tests), spec.Policy)
	b.WriteString("\nTo bind it, apply the policy and this:\n\n" + indented(strings.TrimSpace(catalog.Binding(t)), "  ") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func section(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	b.WriteString("\n" + title + ":\n")
	for _, line := range lines {
		b.WriteString("  " + output.Printable(line) + "\n")
	}
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func parameters(spec *v1alpha1.PolicyTemplateSpec) []string {
	out := make([]string, 0, len(spec.Parameters))
	for i := range spec.Parameters {
		p := &spec.Parameters[i]
		kind := "required"
		if !p.Required {
			kind = "default " + catalog.Default(p)
		}
		line := fmt.Sprintf("%s (%s, %s): %s", p.Name, p.Type, kind, p.Description)
		if len(p.OneOf) > 0 {
			line += " One of " + strings.Join(p.OneOf, ", ") + "."
		}
		out = append(out, line)
	}
	return out
}

// rules are what a policy refuses and what it adds.
func rules(spec *v1alpha1.PolicyTemplateSpec) []string {
	var out []string
	for i := range spec.Constraints {
		c := &spec.Constraints[i]
		out = append(out, fmt.Sprintf("%s (%s): refused where %s", c.Name, c.Subject, c.Message))
	}
	for i := range spec.Contributions {
		out = append(out, fmt.Sprintf("%s: %s", spec.Contributions[i].Name, catalog.Adds(&spec.Contributions[i])))
	}
	for i := range spec.Assertions {
		a := &spec.Assertions[i]
		out = append(out, fmt.Sprintf("%s: tested, and does not pass where %s", a.Name, a.Message))
	}
	return out
}

// indented puts a margin before each line that is not empty.
func indented(text, margin string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = margin + line
		}
	}
	return strings.Join(lines, "\n")
}
