// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
)

// explainOptions are the flags.
type explainOptions struct {
	live.Options
	Output string
}

// Explained is a line of the check with where it comes from.
type Explained struct {
	mtls.Explanation
	// Attempts are changes that were tried where there is a conflict, the smallest first.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// ExplainView is the answer as JSON and YAML have it.
type ExplainView struct {
	Explanations []Explained `json:"explanations"`
	Notes        []string    `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

func newExplain(s *streams.Streams) *cobra.Command {
	o := &explainOptions{}
	cmd := &cobra.Command{
		Use:   "explain CLIENT SERVICE[:PORT]",
		Short: "Say which objects decide what a client sends and a service takes, and why no others do",
		Long: `explain prints the lines of check for a client and a service, and where they come
from: the DestinationRule in force and the part of it that speaks of TLS, the
PeerAuthentication that decides for each workload and at which level, and each object
that somebody could expect to decide and does not, with the reason.

Where there is a conflict, changes that may resolve it are tried, and what each would do is
said; that needs the objects, of files or with --source generator.

The objects are followed as istiod follows them. What the proxies were sent counts: where
that is not what follows from the objects, the answer says so.`,
		Example: `  # Why does the start page send what it sends?
  trellis mtls explain -f examples/bookinfo bookinfo/productpage bookinfo/reviews

  # In the running mesh
  trellis mtls explain --context prod bookinfo/productpage bookinfo/reviews:9080`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *explainOptions) run(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	q, err := readPair(args)
	if err != nil {
		return err
	}
	return asked(cmd, s, &o.Options, func(m *mesh.Mesh) (*ExplainView, error) { return explain(cmd.Context(), m, q) },
		reply[*ExplainView]{format: o.Output, text: (*ExplainView).text, verdict: (*ExplainView).verdict})
}

func (v *ExplainView) verdict() error {
	var rows []mtls.Row
	for _, e := range v.Explanations {
		rows = append(rows, e.Row)
	}
	return verdict(rows)
}

func explain(ctx context.Context, m *mesh.Mesh, q question) (*ExplainView, error) {
	w, known := newWorkshop(m)
	client, target, err := q.pair(w.checker)
	if err != nil {
		return nil, err
	}
	view := &ExplainView{Notes: m.Missing(), Source: m.From}
	if !known {
		view.Notes = append(view.Notes, mesh.PoliciesUnknown)
	}
	for _, e := range w.checker.Explain(client, target) {
		one := Explained{Explanation: e}
		if m.Changeable() && e.Status.Fails() {
			if one.Attempts, err = w.attempts(ctx, client, target, &e.Row); err != nil {
				return nil, err
			}
		}
		view.Explanations = append(view.Explanations, one)
	}
	return view, nil
}

func (v *ExplainView) text(w io.Writer) error {
	var b strings.Builder
	for i := range v.Explanations {
		if i > 0 {
			b.WriteString("\n")
		}
		explained(&b, &v.Explanations[i])
	}
	output.Notes(&b, v.Notes)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

func explained(b *strings.Builder, e *Explained) {
	fmt.Fprintf(b, "%s to %s: %s\n", e.Client, e.Address(), e.Mark())
	fmt.Fprintf(b, "  the client sends %s, the server takes %s\n", e.Sent(), e.Server())
	if e.Why != "" {
		fmt.Fprintf(b, "  %s%s\n", e.Why, got(e.Code, e.Flags))
	}
	if e.Unproven != "" {
		fmt.Fprintf(b, "  %s\n", mtls.Starred)
	}
	if r := e.Rule; r != nil {
		fmt.Fprintf(b, "  what the client sends\n    %s\n", r.Why)
		if r.TLS != "" {
			fmt.Fprintf(b, "    %s\n", r.TLS)
		}
		if r.Contradiction != "" {
			fmt.Fprintf(b, "    %s\n", r.Contradiction)
		}
		considered(b, r.Candidates)
	}
	for _, m := range e.Modes {
		fmt.Fprintf(b, "  what %s takes on port %d: %s\n    %s\n", m.Workload, m.Port, cmp.Or(string(m.Mode), "no mode"), m.Why)
		considered(b, m.Candidates)
	}
	if len(e.Attempts) > 0 {
		b.WriteString("  what would happen\n")
	}
	for _, a := range e.Attempts {
		does := "does not do it: " + a.Why
		if a.Resolves {
			does = fmt.Sprintf("resolves it; of all pairs %d succeed that failed, %d others are sent something else, and nothing else changes", len(a.Effect.Resolved), len(a.Effect.Secured))
		}
		fmt.Fprintf(b, "    %s\n      %s\n", a.Change, does)
	}
}

func considered(b *strings.Builder, candidates []mtls.Candidate) {
	var rows []output.Row
	for _, c := range candidates {
		rows = append(rows, output.Row{Cells: []string{c.Name, c.Place, c.Reason, c.Why}})
	}
	var table strings.Builder
	// A builder does not fail.
	_ = output.Fit(make([]string, 4), rows).Rows(&table, rows, false)
	for line := range strings.Lines(table.String()) {
		b.WriteString("      " + line)
	}
}
