// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package envelope is the verb "envelope": what an Application is still free to choose.
package envelope

import (
	"io"

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
	Namespace string
	Output    string
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "envelope [NAMESPACE/]APPLICATION",
		Short: "Say what an Application is still free to choose, and who bounds the rest",
		Long: `envelope says for each part of an Application what is fixed for it, what must be true
of whatever it states, what holds until it states something else, and what it is
free to choose; each with who says so and whom to ask.

Exit code 0: it was shown. 1: wrong usage, an Application that does not exist, a file
that cannot be opened, or a fault of Trellis. 2: something of the files cannot be read.`,
		Example: `  # What may this team still choose?
  trellis envelope -f examples/policies shop-staging/orders`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args[0]) },
	}
	o.AddStatementFlags(cmd)
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "default", "namespace of an Application that is named without one")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *Options) run(cmd *cobra.Command, s *streams.Streams, name string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	compiled, err := o.Compile(cmd.Context(), s)
	if err != nil {
		return err
	}
	view, err := answer.EnvelopeOf(compiled.Posture(), compiled.Snapshot, compiled.Applications, name, o.Namespace)
	if err != nil {
		return err
	}
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view, s.OutColour) }); err != nil {
		return err
	}
	return source.Complain(compiled, s.Err, s.ErrColour)
}

// width of what is said of a part, in characters: a table of it stays readable in a
// terminal of a hundred.
const width = 72

func text(w io.Writer, v *answer.Envelope, colour bool) error {
	var rows []output.Row
	for _, b := range v.Bounds {
		lines := output.Wrap(b.What, width)
		if b.By != "" {
			lines = append(lines, output.Wrap("by "+b.By, width)...)
		}
		for i, line := range lines {
			row := output.Row{Cells: []string{b.Part, string(b.Freedom), line}}
			if i > 0 {
				row = output.Row{Cells: []string{line}, Continues: true}
			}
			rows = append(rows, row)
		}
	}
	return output.Table(w, []string{"PART", "FREEDOM", "WHAT"}, rows, colour)
}
