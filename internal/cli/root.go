// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: it puts the verbs together and turns their
// errors into messages and exit codes. Verbs are packages of their own; they
// return values that views write, and none of them prints or exits.
package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/can"
	"github.com/trellis-mesh/trellis/internal/cli/catalog"
	"github.com/trellis-mesh/trellis/internal/cli/cert"
	"github.com/trellis-mesh/trellis/internal/cli/check"
	"github.com/trellis-mesh/trellis/internal/cli/console"
	"github.com/trellis-mesh/trellis/internal/cli/diagnose"
	"github.com/trellis-mesh/trellis/internal/cli/diff"
	"github.com/trellis-mesh/trellis/internal/cli/dns"
	"github.com/trellis-mesh/trellis/internal/cli/envelope"
	"github.com/trellis-mesh/trellis/internal/cli/exception"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/explain"
	"github.com/trellis-mesh/trellis/internal/cli/exposed"
	"github.com/trellis-mesh/trellis/internal/cli/hits"
	"github.com/trellis-mesh/trellis/internal/cli/mtls"
	"github.com/trellis-mesh/trellis/internal/cli/render"
	"github.com/trellis-mesh/trellis/internal/cli/replay"
	"github.com/trellis-mesh/trellis/internal/cli/report"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/cli/suggest"
	"github.com/trellis-mesh/trellis/internal/cli/test"
	"github.com/trellis-mesh/trellis/internal/cli/tree"
	"github.com/trellis-mesh/trellis/internal/cli/unused"
	"github.com/trellis-mesh/trellis/internal/cli/version"
	"github.com/trellis-mesh/trellis/internal/cli/who"
)

// New is the root command. program is the name that it was called by: as a
// plugin of kubectl, help texts show what people type.
func New(program string, s *streams.Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "trellis",
		Short: "One statement of who may reach an application, enforced by the mesh",
		Long: `Trellis turns what an application serves, and who may call it, into Istio
configuration, and shows that the data plane does what was stated.

check, render and catalog work on files and need no cluster. dns, cert and exception ask
the cluster that kubectl would ask. Questions (can, who, exposed, unused, envelope, explain, test,
replay, hits, suggest, diff, tree, report, mtls, diagnose) are about files, or with --context about a
running cluster.`,
		Example: `  # What is wrong with these documents?
  trellis check -f examples/bookinfo

  # What would they become?
  trellis render -f examples/bookinfo

  # Does something need me?
  trellis cert status -A && trellis dns status -A`,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	if plugin := strings.TrimSuffix(filepath.Base(program), ".exe"); strings.HasPrefix(plugin, "kubectl-") {
		// kubectl-trellis is what kubectl runs for "kubectl trellis".
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl trellis"}
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.AddCommand(can.New(s), catalog.New(s), cert.New(s), check.New(s), console.New(s), diagnose.New(s), diff.New(s), dns.New(s), envelope.New(s), exception.New(s), explain.New(s), exposed.New(s), hits.New(s), mtls.New(s), render.New(s), replay.New(s), report.New(s), suggest.New(s), test.New(s), tree.New(s), unused.New(s), version.New(s), who.New(s))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{err, cmd.CommandPath()} })
	explainArguments(root)
	return root
}

// explainArguments has every command say how it is called where its arguments are too
// many or too few.
func explainArguments(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			switch {
			case err == nil:
				return nil
			case !cmd.HasSubCommands():
				err = fmt.Errorf("%w; it is: %s", err, cmd.UseLine())
			}
			return usageError{err, cmd.CommandPath()}
		}
	}
	for _, below := range cmd.Commands() {
		explainArguments(below)
	}
}

// usageError is about how a command was called.
type usageError struct {
	error
	command string
}

func (e usageError) Unwrap() error { return e.error }

// Main runs the command line and returns the process's exit code. A panic is
// reported as a fault of Trellis, and is an exit code like any other.
func Main(ctx context.Context, args []string, s *streams.Streams) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(s.Err, "error: this is a fault of Trellis, please report it with what follows: %v\n%s", r, debug.Stack())
			code = exit.Failure
		}
	}()
	root := New(args[0], s)
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil || errors.Is(err, exit.ErrFindings) || errors.Is(err, exit.ErrUnknown):
	case errors.As(err, &usage):
		fmt.Fprintf(s.Err, "error: %v\nSee '%s --help'.\n", err, usage.command)
	default:
		fmt.Fprintf(s.Err, "error: %s\n", strings.TrimSpace(err.Error()))
	}
	return exit.Code(err)
}
