// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package unused is the verb "unused": rules that never decide, and workloads that
// nothing protects.
package unused

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options are the flags.
type Options struct {
	live.Options
	Output string
}

// View is the answer as JSON and YAML have it.
type View struct {
	*ask.Idleness
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

A rule that another one backs up is shadowed too: that is not always a mistake.`,
		Example: `  # Which rules make no difference?
  trellis unused -f examples/bookinfo

  # And in the running mesh?
  trellis unused --context prod`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			m, err := o.Open(cmd.Context(), s, time.Now())
			if err != nil {
				return err
			}
			complaint := m.Complain(s.Err, s.ErrColour, mesh.Doubt{})
			m.Prepare(cmd.Context())
			answer := m.Unused()
			answer.Notes = append(answer.Notes, m.Missing()...)
			view := &View{answer, m.From}
			if err := errors.Join(complaint, m.Close()); err != nil {
				return err
			}
			return m.Verdict(output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view) }))
		},
	}
	o.AddFlags(cmd)
	o.AddDumpFlag(cmd)
	output.AddFlag(cmd, &o.Output)
	return cmd
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
	output.Notes(&b, a.Notes)
	output.Source(&b, a.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

func list(b *strings.Builder, title string, rules []ask.Idle) {
	for _, r := range rules {
		fmt.Fprintf(b, "%s: %s in %s\n", title, r.Object, r.Proxy)
		if r.Origin != nil {
			fmt.Fprintf(b, "  stated by %s\n", output.Origin(*r.Origin))
		}
		if len(r.By) > 0 {
			fmt.Fprintf(b, "  decided by %s\n", output.Printable(output.Short(r.By, 2)))
		}
	}
}
