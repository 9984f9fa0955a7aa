// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package render is the command `trellis render`: the objects that the operator
// would apply, byte for byte, from files alone. It needs no cluster.
package render

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
)

// Options are what the command was asked.
type Options struct {
	source.Options
	// Output is yaml or json.
	Output string
}

// view writes objects in a format.
type view func(w io.Writer, objects []compile.Object) error

var views = map[string]view{"yaml": writeYAML, "json": writeJSON}

var formats = []string{"yaml", "json"}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "render -f PATH...",
		Short: "Print the objects that the operator would apply",
		Long: `Print the objects that the operator would apply, byte for byte, without a
cluster: Istio's Gateways, VirtualServices and policies, in the order in which
they are applied. Problems go to standard error; what has errors is closed in
what is printed, as it would be in a cluster.

The probe entries, by which the operator sees in the data plane whether a route
is protected, need a key that the operator makes. They are printed when its
Secret trellis-probe is among the documents.

Exit code 0: no errors, though there may be warnings. 1: wrong usage, a file
that cannot be opened, or a fault of Trellis. 2: errors.`,
		Example: `  # Print everything that two documents and their surroundings become
  trellis render -f examples/bookinfo

  # Keep it, to compare it after a change
  trellis render -f examples/bookinfo > rendered.yaml

  # As one JSON list
  trellis render -f examples/bookinfo -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := views[o.Output]
			if !ok {
				return fmt.Errorf("reading -o: %q is none of %s", o.Output, strings.Join(formats, ", "))
			}
			compiled, err := Run(cmd.Context(), o, s)
			if err != nil {
				return err
			}
			if err := report.Findings(s.Err, compiled.Report.Findings, s.ErrColour); err != nil {
				return fmt.Errorf("writing the findings: %w", err)
			}
			if err := write(s.Out, compiled.Outcome.Objects); err != nil {
				return fmt.Errorf("writing the objects: %w", err)
			}
			if compiled.Report.Count(model.SeverityError) > 0 {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", "yaml", "format: "+strings.Join(formats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// Run compiles. It writes nothing.
func Run(ctx context.Context, o *Options, s *streams.Streams) (*source.Compiled, error) {
	return o.Compile(ctx, s.In)
}

func writeYAML(w io.Writer, objects []compile.Object) error {
	var out bytes.Buffer
	for i := range objects {
		text, err := objects[i].YAML()
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	_, err := out.WriteTo(w)
	return err
}

// writeJSON writes a List, one object to a line: each is what the operator sends.
func writeJSON(w io.Writer, objects []compile.Object) error {
	var out bytes.Buffer
	out.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	for i := range objects {
		text, err := objects[i].JSON()
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		out.Write(bytes.TrimSpace(text))
	}
	out.WriteString("\n]}\n")
	_, err := out.WriteTo(w)
	return err
}
