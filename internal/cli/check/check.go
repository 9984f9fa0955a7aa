// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package check is the command `trellis check`: every problem in a set of files
// at once, with its line, whose rule it is and what to do. It needs no cluster.
package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
)

// Options are what the command was asked.
type Options struct {
	source.Options
	// Output is one of report.Formats.
	Output string
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "check -f PATH...",
		Short: "Find every problem in Applications and SecureIngresses",
		Long: `Find every problem in Applications and SecureIngresses, without a cluster.

The documents are held to the rules that an API server holds them to, and to
what they mean together: Services, ports, host names, certificates, identity
providers, and the Istio objects that are already there. So give all that
belongs to the mesh: Services, Deployments or Pods, Namespaces, Secrets (a
private key is never kept or shown) and Istio's own objects.

What hangs on the configuration of proxies is asked by trellis test: tests of
Applications, and assertions of policies, of which it is said here that there are
some.

Exit code 0: no errors, though there may be warnings. 1: wrong usage, a file
that cannot be opened, or a fault of Trellis. 2: errors.`,
		Example: `  # Check a directory
  trellis check -f examples/bookinfo

  # In a pipeline, for a code host that shows findings beside the change
  trellis check -f examples/bookinfo -o sarif > trellis.sarif

  # Check what another tool renders
  cat examples/grpc-service/*.yaml | trellis check -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view, ok := report.Views(s.OutColour)[o.Output]
			if !ok {
				return fmt.Errorf("reading -o: %q is none of %s", o.Output, strings.Join(report.Formats, ", "))
			}
			r, err := Run(cmd.Context(), o, s)
			if err != nil {
				return err
			}
			if err := view(s.Out, r); err != nil {
				return fmt.Errorf("writing the report: %w", err)
			}
			if r.Count(model.SeverityError) > 0 {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", "text", "format: "+strings.Join(report.Formats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(slices.Clone(report.Formats), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// Run checks. It writes nothing.
func Run(ctx context.Context, o *Options, s *streams.Streams) (*report.Report, error) {
	compiled, err := o.Compile(ctx, s.In)
	if err != nil {
		return nil, err
	}
	if set := compiled.Outcome.Policies; set != nil && set.Asserts() {
		compiled.Report.Notes = append(compiled.Report.Notes, "what policies assert is not asked here: trellis test asks it of the configuration that proxies get")
	}
	return compiled.Report, nil
}
