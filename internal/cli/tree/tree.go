// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package tree is the verb "tree": from a goal down to the rules of proxies, with how it
// stands at each level.
package tree

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options are the flags.
type Options struct {
	live.Options
	Counts counts.Options
	Output string
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "tree [GOAL]",
		Short: "Follow a goal down to policies, applications, objects and the rules of proxies",
		Long: `tree shows what became of a goal: the bindings that serve it, the Applications and
ingresses that they are about, the Istio objects that were made for them, and the
rules by the names that proxies have for them in logs and counters; with how it
stands at each level. Without a goal it shows all of them, and the bindings that
serve none.

The way up is trellis explain.

With --log, or with --since of a running mesh, each goal, policy, Application and rule
has its counts beside it, as trellis hits has them.

Exit code 0: it was shown. 1: wrong usage, a goal that does not exist, a file that
cannot be opened, or a fault of Trellis. 2: something of the files cannot be read.`,
		Example: `  # What became of the goal?
  trellis tree -f examples/policies fearless-tests

  # And is it hit?
  trellis tree -f examples/policies fearless-tests --log examples/access-logs/policies.log`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			compiled, counted, err := o.Counts.Judge(cmd.Context(), s, &o.Options)
			if err != nil {
				return err
			}
			nodes, err := answer.Grow(compiled.Posture(), compiled.Outcome, args...)
			if err != nil {
				return err
			}
			if counted.Known() {
				answer.Count(nodes, counted.Totals, counts.Bound(compiled))
			}
			if err := output.Write(s.Out, o.Output, nodes, func(w io.Writer) error { return text(w, nodes, counted.Known(), s.OutColour) }); err != nil {
				return err
			}
			// The formats for programs are the trees alone, as trellis-server gives them.
			told := s.Out
			if o.Output != "text" {
				told = s.Err
			}
			if err := counted.Tell(told); err != nil {
				return err
			}
			return source.Complain(compiled, s.Err, s.ErrColour)
		},
	}
	o.AddStatementFlags(cmd)
	o.Counts.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

// text writes the trees, beside the columns of counts where these are known.
func text(w io.Writer, nodes []*answer.Node, counted, colour bool) error {
	var rows []output.Row
	for _, n := range nodes {
		branch(func(r output.Row) { rows = append(rows, r) }, n, "", "")
	}
	var b strings.Builder
	switch {
	case len(nodes) == 0:
		b.WriteString("no goals and no bindings\n")
	case counted:
		if err := output.Table(w, append(counts.Header(), "TREE"), rows, colour); err != nil {
			return err
		}
	default:
		for _, r := range rows {
			b.WriteString(r.Lead + output.Printable(r.Cells[len(r.Cells)-1]) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// branch adds a node and what is below it as rows.
func branch(add func(output.Row), n *answer.Node, first, rest string) {
	line := n.Kind + " " + n.Name
	if n.Kind == "Rule" {
		line = n.Name
	}
	if n.State != "" {
		line += "  [" + n.State + "]"
	}
	if n.Says != "" {
		line += "  " + n.Says
	}
	add(output.Row{Lead: first, Cells: append(counts.Cells(n.Hits), line)})
	for i, below := range n.Below {
		if i == len(n.Below)-1 {
			branch(add, below, rest+"└─ ", rest+"   ")
		} else {
			branch(add, below, rest+"├─ ", rest+"│  ")
		}
	}
}
