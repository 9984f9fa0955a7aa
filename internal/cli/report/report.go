// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package report is the verb "report": how it stands with goals and policies, in the
// format of whoever asks.
package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
	"github.com/trellis-mesh/trellis/internal/version"
)

// Options are the flags.
type Options struct {
	live.Options
	Counts counts.Options
	// Goal limits the report to one goal and what serves it; empty: all.
	Goal string
	// Output is one of assessment.Formats.
	Output string
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Say how far goals are met, what policies refuse, and what is let go",
		Long: `report evaluates every policy that is bound, and says for each goal and each
binding how many objects pass, fail, are exempt or cannot be told; for everything
that is not as a policy has it where it is stated, whose rule it is and what to
do; and for each exception until when it holds and who approved it. With --log, or
with --since of a running mesh, it says how often rules were hit that stand for each
goal and binding, as trellis hits counts them.

Formats: text, json, yaml; sarif for code hosts; junit for CI servers, where what
is not refused is skipped; markdown and csv for people and spreadsheets; oscal for
auditors (assessment results 1.1.3).

Exit code 0: nothing fails, and every goal is met. 1: wrong usage, a file that
cannot be opened, or a fault of Trellis. 2: something fails, also where it would
only be refused (Shadow) or is only reported (Audit); a goal is not met, as one
that nothing serves or that nothing is enforced for; something cannot be told; or
something of the files cannot be read.`,
		Example: `  # How does it stand with a goal?
  trellis report -f examples/policies --goal fearless-tests

  # With everything in a running mesh
  trellis report --context prod

  # For an auditor
  trellis report -f examples/policies --goal fearless-tests -o oscal > results.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.AddStatementFlags(cmd)
	o.Counts.AddFlags(cmd)
	cmd.Flags().StringVar(&o.Goal, "goal", "", "only this goal, by name, and the bindings that serve it")
	cmd.Flags().StringVarP(&o.Output, "output", "o", "text", "format: "+strings.Join(assessment.Formats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(slices.Clone(assessment.Formats), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *Options) run(cmd *cobra.Command, s *streams.Streams) error {
	view, ok := assessment.Views(s.OutColour)[o.Output]
	if !ok {
		return fmt.Errorf("reading -o: %q is none of %s", o.Output, strings.Join(assessment.Formats, ", "))
	}
	compiled, counted, err := o.Counts.Judge(cmd.Context(), s, &o.Options)
	if err != nil {
		return err
	}
	standing := compiled.Posture()
	if o.Goal != "" {
		if standing = standing.Only(o.Goal); standing == nil {
			return fmt.Errorf("reading --goal: there is no Goal %s; trellis tree lists all", o.Goal)
		}
	}
	of := assessment.Of(standing, compiled.Snapshot.At(), version.String(), compiled.Snapshot.Position)
	of.Counted = counted.Of()
	if counted.Known() {
		of.Count(counted.Totals, counts.Bound(compiled))
	}
	if err := view(s.Out, of); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	switch o.Output {
	case "json", "yaml": // say it themselves
	case "text":
		err = counted.Tell(s.Out)
	default:
		err = counted.Tell(s.Err)
	}
	if err != nil {
		return err
	}
	if err := source.Complain(compiled, s.Err, s.ErrColour); err != nil {
		return err
	}
	if !of.Good() {
		return exit.ErrFindings
	}
	return nil
}
