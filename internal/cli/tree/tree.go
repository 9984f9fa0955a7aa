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
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options are the flags.
type Options struct {
	live.Options
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

Exit code 0: it was shown. 1: wrong usage, a goal that does not exist, a file that
cannot be opened, or a fault of Trellis. 2: something of the files cannot be read.`,
		Example: `  # What became of the goal?
  trellis tree -f examples/policies fearless-tests`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			compiled, err := o.Judge(cmd.Context(), s)
			if err != nil {
				return err
			}
			nodes, err := answer.Grow(compiled.Posture(), compiled.Outcome, args...)
			if err != nil {
				return err
			}
			if err := output.Write(s.Out, o.Output, nodes, func(w io.Writer) error { return text(w, nodes) }); err != nil {
				return err
			}
			return source.Complain(compiled, s.Err, s.ErrColour)
		},
	}
	o.AddStatementFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func text(w io.Writer, nodes []*answer.Node) error {
	var b strings.Builder
	if len(nodes) == 0 {
		b.WriteString("no goals and no bindings\n")
	}
	for _, n := range nodes {
		branch(&b, n, "", "")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func branch(b *strings.Builder, n *answer.Node, first, rest string) {
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
	b.WriteString(first + output.Printable(line) + "\n")
	for i, below := range n.Below {
		if i == len(n.Below)-1 {
			branch(b, below, rest+"└─ ", rest+"   ")
		} else {
			branch(b, below, rest+"├─ ", rest+"│  ")
		}
	}
}
