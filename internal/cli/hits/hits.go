// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package hits is the verb "hits": how often each line that somebody wrote was hit.
package hits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// Options are the flags.
type Options struct {
	live.Options
	By      string
	Output  string
	Verbose bool
	// Samples shows requests in place of numbers.
	Samples bool
	// Since is how long back counts of trellis-server go, which Serving finds.
	Since   time.Duration
	Serving live.ServerOptions
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "hits [LOG...]",
		Short: "Count how often each line that somebody wrote was hit",
		Long: `hits joins each entry of access logs to what was written, and counts: how many
requests each statement allowed, denied, or would deny once it is enforced, how many
failed there, and when it was hit last. Lines that nobody hit have zeros: they are
declared, and were not used in what the logs show. AGE is for how long at least each is
in force as it is, where a cluster says it.

Lines are Istio's text format or its JSON, or exports of OpenTelemetry, of gateways and
of sidecars. Istio's own formats do not say which rule let a request in: a format with
%DYNAMIC_METADATA(envoy.filters.http.rbac)% and %DOWNSTREAM_PEER_URI_SAN% does. A request
through a gateway is counted once. Paths, queries, tokens and addresses are not kept.
Lines of a proxy's own log, which kubectl logs has among them, are left out.
With - lines come from standard input, as they do without a LOG and without a cluster.

Without a LOG, --context asks trellis-server what it has counted since a while ago
(--since), of what you may read: from there numbers are known for the times that it
says, and gaps are told as gaps. --samples shows the newest requests in their place,
with the id by which each is found in a log.

Exit code 0: every entry was counted. 1: wrong usage, a file that cannot be opened, or
a fault of Trellis. 3: some could not be read, or not be joined to what was written;
they are told and counted apart.`,
		Example: `  # What was used of this?
  trellis hits -f examples/bookinfo examples/access-logs/gateway.log

  # By Application, of what the running gateway logs
  kubectl logs -n istio-ingress deploy/istio-ingressgateway | trellis hits --context prod --by application -

  # What was counted in the running mesh since yesterday
  trellis hits --context prod --since 24h`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.answer(cmd.Context(), s, args) },
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVar(&o.By, "by", string(hits.Rules), "what is counted: "+strings.Join(layers(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(layers(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().DurationVar(&o.Since, "since", 24*time.Hour, "how long back counts of trellis-server go")
	cmd.Flags().BoolVar(&o.Samples, "samples", false, "of what trellis-server has counted show the newest requests, in place of numbers")
	o.Serving.AddFlags(cmd)
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show warnings about the files, too")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func layers() []string {
	var out []string
	for _, l := range hits.Layers {
		out = append(out, string(l))
	}
	return out
}

// answer counts what logs have, or asks trellis-server.
func (o *Options) answer(ctx context.Context, s *streams.Streams, logs []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	if !slices.Contains(hits.Layers, hits.Layer(o.By)) {
		return fmt.Errorf("reading --by: %q is none of %s", o.By, strings.Join(layers(), ", "))
	}
	switch asks := len(logs) == 0 && o.Running(); {
	case o.Samples && !asks:
		return errors.New("reading --samples: examples are kept by trellis-server: give --context, and no LOG")
	case o.Samples:
		return o.exemplify(ctx, s)
	case asks:
		return o.ask(ctx, s)
	}
	if len(logs) == 0 {
		logs = []string{document.Stdin}
	}
	return o.run(ctx, s, logs)
}

func (o *Options) run(ctx context.Context, s *streams.Streams, logs []string) (err error) {
	m, err := o.Open(ctx, s, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Complain(s.Err, s.ErrColour, mesh.Doubt{All: o.Verbose}); err != nil {
		return err
	}
	c, err := counts.Read(m, logs, s.In)
	if err != nil {
		return err
	}
	stated, notes := o.stated(ctx, m, c, s)
	by := hits.Layer(o.By)
	view := &answer.Hits{By: o.By, Rows: stated.Rows(by, c.Totals(), stated.Lines(by)), Counted: c.Counted()}
	view.Notes = slices.Concat(view.Notes, notes, m.Missing())
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view, time.Now(), s.OutColour) }); err != nil {
		return err
	}
	if c.Unread > 0 || c.Unplaced() > 0 {
		return exit.ErrUnknown
	}
	return m.Verdict(nil)
}

// stated is what is counted by: policies, where that is asked, of a running mesh those in
// the cluster.
func (o *Options) stated(ctx context.Context, m *mesh.Mesh, c *counts.Counts, s *streams.Streams) (out *answer.Stated, notes []string) {
	out = &answer.Stated{Index: c.Index, Applications: m.Applications}
	if by := hits.Layer(o.By); by != hits.Goals && by != hits.Policies && by != hits.Exceptions {
		return out, nil
	}
	compiled, err := o.CompileOf(ctx, m, s)
	if err != nil {
		return out, []string{"which policies are bound is not known: " + err.Error()}
	}
	out.Policies = compiled.Outcome.Policies
	return out, nil
}
