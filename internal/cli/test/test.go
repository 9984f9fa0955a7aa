// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package test is the verb "test": it runs the tests of access that Applications
// state, and those of files of their own.
package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Options are what the command was asked.
type Options struct {
	live.Options
	// Tests are files of tests.
	Tests   []string
	Output  string
	Verbose bool
}

var formats = append(slices.Clone(output.Formats), "junit")

// ErrNoTests is returned where there is nothing to run: nothing was shown then.
var ErrNoTests = errors.New("there are no tests: write spec.tests of an Application, name a file of tests with --tests, or bind a policy with assertions")

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the tests of who may reach what",
		Long: `Run the tests of all Applications (spec.tests), and those of the files that --tests
names, and what policies assert, on the configuration that Istio itself would send to
each proxy. A test passes where every request of it is known to end as expected. What
cannot be told has not passed. Where an assertion fails, the policy, its goal and what
to do are named. What an exception lets go is told and does not fail, and so is what a
policy asserts that refuses nothing: one in Shadow or Audit, or a default.

A file of tests belongs to no Application. It is YAML or JSON:

  tests:
  - name: nobody reads reviews without a login
    from: {internet: {}}           # or application, serviceAccount: {name, namespace}
    request: {method: GET, url: "https://shop.example.com/api/reviews"}
    expect: {verdict: Deny}        # Allow, Deny, Answered, NoRoute or Fails; code: 403

with headers and token in the request as Applications have them.

Exit code 0: all passed. 1: there are no tests, wrong usage, a file that cannot be
opened, or a fault of Trellis. 2: a test failed, or the files have errors. 3: a test
could not be told, and none failed.

With --context the tests are those of the Applications in the cluster, and -f names a
draft over it.`,
		Example: `  # Those of all Applications
  trellis test -f examples/bookinfo

  # And those that the platform keeps
  trellis test -f examples/bookinfo --tests examples/access-tests.yaml -v

  # What runs, and a draft over what runs
  trellis test --context prod
  trellis test --context prod -f examples/bookinfo/productpage

  # In a pipeline
  trellis test -f examples/bookinfo -o junit > access.xml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(formats, o.Output) {
				return fmt.Errorf("reading -o: %q is none of %s", o.Output, strings.Join(formats, ", "))
			}
			return o.run(cmd.Context(), s)
		},
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.Tests, "tests", nil, `file of tests, or "-" for standard input; may be repeated`)
	flags.StringVarP(&o.Output, "output", "o", "text", "format: "+strings.Join(formats, ", "))
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show tests that passed, and warnings about the files")
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(slices.Clone(formats), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *Options) run(ctx context.Context, s *streams.Streams) (err error) {
	m, err := o.Open(ctx, s, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	trials, err := o.trials(m, s.In)
	if err != nil {
		return err
	}
	trials = append(trials, o.asserted(ctx, m, s)...)
	if err := m.Complain(s.Err, s.ErrColour, mesh.Doubt{All: o.Verbose}); err != nil {
		return err
	}
	failed := m.Report.Count(model.SeverityError)
	if len(trials) == 0 && failed == 0 {
		return ErrNoTests
	}
	view := &View{Tests: []Test{}}
	for _, t := range trials {
		view.add(m.World, trial.Run(m.World, t))
	}
	if o.Output == "junit" {
		err = view.junit(s.Out)
	} else {
		err = output.Write(s.Out, o.Output, view, func(w io.Writer) error { return view.text(w, s.OutColour, o.Verbose) })
	}
	switch {
	case err != nil:
		return err
	case failed > 0 || view.Summary.Failed > 0:
		return exit.ErrFindings
	case view.Summary.Unknown > 0:
		return exit.ErrUnknown
	}
	return nil
}

// trials are all tests: those of Applications first.
func (o *Options) trials(m *mesh.Mesh, stdin io.Reader) ([]*trial.Trial, error) {
	out := trial.OfApplications(m.World, m.About.ClusterDomain, m.Published)
	for _, name := range o.Tests {
		raw, err := read(name, stdin)
		if err != nil {
			return nil, fmt.Errorf("reading tests: %w", err)
		}
		if name == document.Stdin {
			name = "stdin"
		}
		tests, err := trial.OfFile(m.World, name, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, tests...)
	}
	return out, nil
}

// asserted are what policies assert, of a running mesh what those in the cluster do.
func (o *Options) asserted(ctx context.Context, m *mesh.Mesh, s *streams.Streams) []*trial.Trial {
	compiled, err := o.CompileOf(ctx, m, s)
	if err != nil {
		m.Lacks = append(m.Lacks, "what policies assert is not known, and is not tested: "+err.Error())
		return nil
	}
	return trial.OfAssertions(m.World, compiled.Outcome.Assertions, m.About.ClusterDomain, m.Published)
}

func read(name string, stdin io.Reader) (raw []byte, err error) {
	from := stdin
	if name != document.Stdin {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		from = file
	}
	raw, err = io.ReadAll(io.LimitReader(from, document.MaxFileBytes+1))
	if err == nil && len(raw) > document.MaxFileBytes {
		err = fmt.Errorf("%s is larger than %d MiB", name, document.MaxFileBytes>>20)
	}
	return raw, err
}
