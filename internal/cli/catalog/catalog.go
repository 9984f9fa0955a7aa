// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog is the commands `trellis catalog list`, `show`, `test` and `new`: the
// policies that Trellis comes with, and how to write another one. They need no cluster.
package catalog

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// New is the command `trellis catalog`, with its verbs.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "Show, test and begin policies",
		Long: `Show the policies that Trellis comes with, run their tests, and begin another one.

A policy is a PolicyTemplate: what it checks, what it adds, and tests that show that it
does. It holds where a ClusterPolicyBinding or PolicyBinding binds it.`,
		Example: `  # What is there?
  trellis catalog list

  # What does it do, and how is it bound?
  trellis catalog show no-anonymous-routes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newList(s), newShow(s), newTest(s), newNew(s))
	return cmd
}

// Policy is a policy of the catalog in a list.
type Policy struct {
	Policy   string   `json:"policy"`
	Version  string   `json:"version"`
	Severity string   `json:"severity"`
	Title    string   `json:"title"`
	Controls []string `json:"controls"`
}

// Policies is a list, as JSON and YAML have it.
type Policies struct {
	Policies []Policy `json:"policies"`
}

// ListOptions are what the command list was asked.
type ListOptions struct {
	Output string
	// Control is a control that the policies help to meet, or how it begins; empty: any.
	Control string
}

func newList(s *streams.Streams) *cobra.Command {
	o := &ListOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the policies that Trellis comes with",
		Long:  "List the policies that Trellis comes with, each with its version, severity and title.",
		Example: `  # All of them
  trellis catalog list

  # Those that help to meet a control, or a family of them
  trellis catalog list --control nist-800-53:AC-4
  trellis catalog list --control pci-dss-4.0:`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			list, err := List(o)
			if err != nil {
				return err
			}
			return output.Write(s.Out, o.Output, list, func(w io.Writer) error { return list.table(w, s.OutColour) })
		},
	}
	output.AddFlag(cmd, &o.Output)
	cmd.Flags().StringVar(&o.Control, "control", "", `only policies that help to meet this control, or one that begins so where it ends with ":", "." or "-"`)
	return cmd
}

// List lists the policies. A control that none of them names is a mistake.
func List(o *ListOptions) (*Policies, error) {
	entries, err := catalog.Embedded()
	if err != nil {
		return nil, err
	}
	out := &Policies{Policies: []Policy{}}
	for i := range entries {
		spec := &entries[i].Template.Spec
		p := Policy{Policy: string(spec.Policy), Version: spec.Version, Severity: string(spec.Severity), Title: spec.Title, Controls: []string{}}
		for _, c := range spec.Controls {
			p.Controls = append(p.Controls, string(c))
		}
		if o.Control == "" || slices.ContainsFunc(p.Controls, func(c string) bool { return names(o.Control, c) }) {
			out.Policies = append(out.Policies, p)
		}
	}
	if len(out.Policies) == 0 {
		return nil, fmt.Errorf("no policy of the catalog names control %q; controls are written like nist-800-53:AC-4, pci-dss-4.0:1.3.1 and soc2:CC6.6", o.Control)
	}
	return out, nil
}

// names reports whether what was asked for is a control, or how it begins.
func names(asked, control string) bool {
	if strings.HasSuffix(asked, ":") || strings.HasSuffix(asked, ".") || strings.HasSuffix(asked, "-") {
		return strings.HasPrefix(control, asked)
	}
	return control == asked
}

func (p *Policies) table(w io.Writer, colour bool) error {
	rows := make([]output.Row, 0, len(p.Policies))
	for _, one := range p.Policies {
		rows = append(rows, output.Row{Cells: []string{one.Policy, one.Version, one.Severity, one.Title}})
	}
	return output.Table(w, []string{"POLICY", "VERSION", "SEVERITY", "TITLE"}, rows, colour)
}

// completeNames completes names of policies of the catalog.
func completeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	entries, err := catalog.Embedded()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out := make([]cobra.Completion, 0, len(entries))
	for i := range entries {
		out = append(out, cobra.CompletionWithDesc(entries[i].Name(), entries[i].Template.Spec.Title))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
