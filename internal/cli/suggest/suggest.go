// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package suggest is the verb "suggest": what could be stated, by what was seen.
package suggest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/suggestion"
)

// Options are the flags.
type Options struct {
	live.Options
	// Proposed says what is proposed.
	Proposed  suggestion.Options
	Namespace string
	// Since is how long back counts of trellis-server go, which Serving finds.
	Since   time.Duration
	Serving live.ServerOptions
	Output  string
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "suggest",
		Short:   "Propose what to state, by what was seen",
		Example: "  trellis suggest access bookinfo/details -f examples/bookinfo -f examples/access-logs/pods.yaml examples/access-logs/inside.log",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(access(s))
	return cmd
}

func access(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "access [NAMESPACE/]APPLICATION [LOG...]",
		Short: "Propose callers and calls of an Application, by who called it and whom it called",
		Long: `access shows who called an Application from inside of the mesh and whom it called, with
how often, and as a difference to the Application what to add so that what was allowed
stays allowed and is stated by name. It changes nothing, and takes nothing away: entries
by which nobody was seen are named.

What was refused is not proposed, unless --denied says that it should be let in. Calls
are restricted once they are stated, so that they are only proposed where some are
stated already, or with --calls. Numbers are evidence, and no proof: a caller that comes
once a month is not among those of a day.

Lines of a LOG are as trellis hits reads them, of the sidecars of who is called. Without
one, --context asks trellis-server what it has counted since a while ago (--since).

Exit code 0: there is nothing to add. 1: wrong usage, a file that cannot be opened, or a
fault of Trellis. 2: something is proposed. 3: nothing was counted, or something of the
logs could not be read or joined to what was written.`,
		Example: `  # Is everybody named who calls it?
  trellis suggest access bookinfo/details -f examples/bookinfo -f examples/access-logs/pods.yaml examples/access-logs/inside.log

  # Of what the running mesh did in a week
  trellis suggest access shop/cart --context prod --since 168h`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			name := model.Name{Namespace: o.Namespace, Name: args[0]}
			if namespace, rest, ok := strings.Cut(args[0], "/"); ok {
				name = model.Name{Namespace: namespace, Name: rest}
			}
			if len(args) == 1 && o.Running() {
				return o.ask(cmd.Context(), s, name)
			}
			if len(args) == 1 {
				return errors.New("reading the command line: name a LOG, or - for standard input, or a cluster with --context")
			}
			return o.read(cmd.Context(), s, name, args[1:])
		},
	}
	o.AddFlags(cmd)
	o.Serving.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "default", "namespace of an Application that is named without one")
	cmd.Flags().DurationVar(&o.Since, "since", 24*time.Hour, "how long back counts of trellis-server go")
	cmd.Flags().BoolVar(&o.Proposed.Denied, "denied", false, "propose to let in who was refused, too")
	cmd.Flags().BoolVar(&o.Proposed.Calls, "calls", false, "propose to state calls where none are stated")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

// read makes a suggestion of logs.
func (o *Options) read(ctx context.Context, s *streams.Streams, name model.Name, logs []string) (err error) {
	m, err := o.Open(ctx, s, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Complain(s.Err, s.ErrColour, mesh.Doubt{}); err != nil {
		return err
	}
	compiled, err := o.CompileOf(ctx, m, s)
	if err != nil {
		return err
	}
	a := compiled.Snapshot.Application(name)
	if a == nil {
		return fmt.Errorf("there is no Application %s/%s among what was read", name.Namespace, name.Name)
	}
	c, err := counts.Read(m, logs, s.In)
	if err != nil {
		return err
	}
	view := &answer.Suggestion{
		Suggestion: *suggestion.Of(compiled.Snapshot, a, c.Totals(), o.Proposed),
		From:       answer.Moment(c.First), To: answer.Moment(c.Last),
	}
	view.Notes = append(append(view.Notes, c.Named...), m.Missing()...)
	known := c.Entries > 0 && c.Unread == 0 && c.Unplaced() == 0
	return o.write(s, view, a.Spec.Access, known)
}

// ask asks trellis-server for one.
func (o *Options) ask(ctx context.Context, s *streams.Streams, name model.Name) (err error) {
	server, err := o.Server(ctx, s, o.Serving)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	view := &answer.Suggestion{}
	query := url.Values{"since": {o.Since.String()}, "denied": {strconv.FormatBool(o.Proposed.Denied)}, "calls": {strconv.FormatBool(o.Proposed.Calls)}}
	if err := server.Get(ctx, "suggestion/"+url.PathEscape(name.Namespace)+"/"+url.PathEscape(name.Name), query, view); err != nil {
		return err
	}
	view.Notes = append(view.Notes, server.Notes...)
	return o.write(s, view, view.Stated, len(view.Ran) > 0)
}

func (o *Options) write(s *streams.Streams, view *answer.Suggestion, stated *v1alpha1.Access, known bool) error {
	view.Stated = stated
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view, s.OutColour) }); err != nil {
		return err
	}
	switch {
	case view.Access != nil:
		return exit.ErrFindings
	case !known:
		return exit.ErrUnknown
	}
	return nil
}
