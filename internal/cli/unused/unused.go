// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package unused is the verb "unused": rules that never decide, and workloads that
// nothing protects.
package unused

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// Options are the flags.
type Options struct {
	live.Options
	Counts counts.Options
	Output string
}

// Idle is a rule that never decides, with how often it was hit all the same.
type Idle struct {
	ask.Idle
	// Hits is absent where nobody knows.
	Hits *answer.Hit `json:"hits,omitempty"`
}

// View is the answer as JSON and YAML have it.
type View struct {
	Unused      []Idle      `json:"unused"`
	Shadowed    []Idle      `json:"shadowed"`
	Unprotected []ask.Reach `json:"unprotected"`
	// Statements are all of which there are rules and routes, with what was counted, and
	// Undeclared is what was used and nobody stated; absent where nobody knows.
	Statements []answer.HitRow     `json:"statements,omitempty"`
	Undeclared []answer.Undeclared `json:"undeclared,omitempty"`
	Notes      []string            `json:"notes,omitempty"`
	// Counted says what the numbers are of; absent where nobody asked for them.
	Counted *answer.Counted `json:"counted,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "unused",
		Short: "Say which rules never decide, and which workloads nothing protects",
		Long: `unused finds the rules of authorization that no request takes (unused): none is
like it, or each is refused before it gets there; those that are taken only by
requests that an earlier rule decides (shadowed); and the requests that workloads let in from anybody in the network, without a certificate
and without a token (unprotected).

A rule that another one backs up is shadowed too: that is not always a mistake.

With --log, or with --since of a running mesh, what was counted stands beside what could
be: each statement as used, or as declared and not used in that time; and what was used
and nobody declared: callers and calls that no entry names, workloads of no Application,
routes of gateways that Trellis did not make.`,
		Example: `  # Which rules make no difference?
  trellis unused -f examples/bookinfo

  # What was used, and what was not?
  trellis unused -f examples/bookinfo -f examples/access-logs/pods.yaml --log examples/access-logs/inside.log

  # And in the running mesh, in the last month?
  trellis unused --context prod --since 720h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			return o.run(cmd.Context(), s)
		},
	}
	o.AddFlags(cmd)
	o.AddDumpFlag(cmd)
	o.Counts.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *Options) run(ctx context.Context, s *streams.Streams) error {
	m, counted, err := o.Counts.Open(ctx, s, &o.Options, time.Now())
	if err != nil {
		return err
	}
	complaint := m.Complain(s.Err, s.ErrColour, mesh.Doubt{})
	m.Prepare(ctx)
	found := m.Unused()
	view := &View{
		Unused: idle(found.Unused, counted), Shadowed: idle(found.Shadowed, counted), Unprotected: found.Unprotected,
		Notes: append(found.Notes, m.Missing()...), Counted: counted.Of(), Source: m.From,
	}
	if counted.Known() {
		o.use(ctx, s, m, counted, view)
	}
	if err := errors.Join(complaint, m.Close()); err != nil {
		return err
	}
	return m.Verdict(output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view) }))
}

// idle are rules with how often each was hit.
func idle(rules []ask.Idle, counted *counts.Beside) []Idle {
	out := make([]Idle, len(rules))
	for i, r := range rules {
		out[i].Idle = r
	}
	if !counted.Known() {
		return out
	}
	by := answer.RuleHits(counted.Totals)
	for i := range out {
		out[i].Hits = cmp.Or(by[out[i].Rule], &answer.Hit{})
	}
	return out
}

// use adds what was used of what was stated, and what else was.
func (o *Options) use(ctx context.Context, s *streams.Streams, m *mesh.Mesh, counted *counts.Beside, view *View) {
	stated := answer.Stated{Index: counts.IndexOf(m)}
	for _, row := range stated.Rows(hits.Rules, counted.Totals, stated.Lines(hits.Rules)) {
		if row.Statement != "" {
			view.Statements = append(view.Statements, row)
		}
	}
	compiled, err := o.CompileOf(ctx, m, s)
	if err != nil {
		view.Notes = append(view.Notes, "what was used and is not declared is not known: "+err.Error())
		return
	}
	view.Undeclared = answer.UndeclaredIn(compiled.Snapshot, counted.Totals)
}

func text(w io.Writer, a *View) error {
	var b strings.Builder
	list(&b, "unused", a.Unused)
	list(&b, "shadowed", a.Shadowed)
	for i := range a.Unprotected {
		r := &a.Unprotected[i]
		fmt.Fprintf(&b, "unprotected: %s\n", strings.TrimSpace(fmt.Sprintf("%s port %s: %s %s", r.To, output.Port(r), output.Short(r.Methods, 3), output.Short(r.Paths, 3))))
	}
	fmt.Fprintf(&b, "%d unused, %d shadowed, %d unprotected\n", len(a.Unused), len(a.Shadowed), len(a.Unprotected))
	use(&b, a)
	counts.Tell(&b, a.Counted)
	output.Notes(&b, a.Notes)
	output.Source(&b, a.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

// use writes what was used of what was stated, and what else was.
func use(b *strings.Builder, a *View) {
	idle := 0
	for i := range a.Statements {
		r := &a.Statements[i]
		switch {
		case r.Unused && r.Refuses:
			idle++
		case r.Unused:
			fmt.Fprintf(b, "declared, not used: %s%s\n", output.Printable(r.String()), since(a.Counted))
		case r.Last == nil:
			fmt.Fprintf(b, "not known whether used: %s: some requests were decided by a rule that is not known\n", output.Printable(r.String()))
		default:
			fmt.Fprintf(b, "used: %s: %s\n", output.Printable(r.String()), r.Hit())
		}
	}
	if idle > 0 {
		fmt.Fprintf(b, "%d statements refuse what nobody tried\n", idle)
	}
	for i := range a.Undeclared {
		u := &a.Undeclared[i]
		fmt.Fprintf(b, "used, not declared: %s: %s\n", output.Printable(u.String()), u.Hits)
		if u.Application != "" {
			fmt.Fprintf(b, "  trellis suggest access %s proposes what to state\n", u.Application)
		}
	}
}

// since is from when on nothing was counted.
func since(c *answer.Counted) string {
	if c == nil || c.From == nil {
		return ""
	}
	return " since " + c.From.Format(time.RFC3339)
}

func list(b *strings.Builder, title string, rules []Idle) {
	for i := range rules {
		r := &rules[i]
		fmt.Fprintf(b, "%s: %s in %s\n", title, r.Object, r.Proxy)
		if r.Origin != nil {
			fmt.Fprintf(b, "  stated by %s\n", output.Origin(*r.Origin))
		}
		if len(r.By) > 0 {
			fmt.Fprintf(b, "  decided by %s\n", output.Printable(output.Short(r.By, 2)))
		}
		if r.Hits != nil {
			fmt.Fprintf(b, "  counted: %s\n", r.Hits)
		}
	}
}
