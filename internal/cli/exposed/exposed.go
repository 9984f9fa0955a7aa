// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package exposed is the verb "exposed": what the internet can reach.
package exposed

import (
	"errors"
	"fmt"
	"io"
	"slices"
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
	Host    string
	Output  string
	Verbose bool
}

// View is the answer as JSON and YAML have it.
type View struct {
	*ask.Exposed
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "exposed",
		Short: "Say what the internet can reach, and what it has to bring",
		Long: `exposed looks at every host and route of every gateway, also of those that
nobody wrote with Trellis, and says which requests pass: without a token, with any
valid token of an issuer, or only with certain claims. Each line has a request that
shows it and the statement that lets it pass.

Requests are put into classes that no matcher on their way tells apart, and one of
each class is decided. Where that was not possible the last lines say so: then
something may be missing.`,
		Example: `  # What can anybody reach?
  trellis exposed -f examples/bookinfo

  # And in the running mesh
  trellis exposed --context prod

  # One host, with a request for each line
  trellis exposed -f examples/bookinfo --host bookinfo.example.com -v`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVar(&o.Host, "host", "", "only this host")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show for each line the paths, a request and who stated it")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *Options) run(cmd *cobra.Command, s *streams.Streams) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	if strings.ContainsAny(o.Host, "/ ") {
		return fmt.Errorf("reading --host: %q is no host; write it without scheme and path, such as shop.example.com", o.Host)
	}
	m, err := o.Open(cmd.Context(), s, time.Now())
	if err != nil {
		return err
	}
	m.Prepare(cmd.Context())
	complaint := m.Complain(s.Err, s.ErrColour, mesh.Doubt{})
	all := m.Exposed()
	answer := &ask.Exposed{Exposures: all.Exposures, Notes: append(slices.Clone(all.Notes), m.Missing()...)}
	if err := errors.Join(complaint, m.Close()); err != nil {
		return err
	}
	if o.Host != "" {
		kept := []ask.Exposure{}
		for _, e := range answer.Exposures {
			if e.Host == o.Host {
				kept = append(kept, e)
			}
		}
		answer = &ask.Exposed{Exposures: kept, Notes: answer.Notes}
	}
	view := &View{answer, m.From}
	return m.Verdict(output.Write(s.Out, o.Output, view, func(w io.Writer) error { return o.text(w, view, s.OutColour) }))
}

func (o *Options) text(w io.Writer, a *View, colour bool) error {
	var b strings.Builder
	if o.Verbose {
		for i := range a.Exposures {
			o.long(&b, &a.Exposures[i])
		}
	} else if len(a.Exposures) > 0 {
		var rows []output.Row
		for i := range a.Exposures {
			e := &a.Exposures[i]
			rows = append(rows, output.Row{Mood: moods[e.Needs], Cells: []string{
				e.Scheme + "://" + e.Host, output.Short(e.Methods, 3), output.Short(e.Paths, 2), output.Needs(e.Needs, e.Token, e.Only, e.Why), e.Reaches, output.By(e.Because, e.Rules),
			}})
		}
		if err := output.Table(&b, []string{"HOST", "METHODS", "PATHS", "NEEDS", "REACHES", "BY"}, rows, colour); err != nil {
			return err
		}
	}
	if len(a.Exposures) == 0 {
		b.WriteString("nothing is reachable from the internet\n")
	}
	output.Notes(&b, a.Notes)
	output.Source(&b, a.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

var moods = map[ask.Needs]output.Mood{ask.Nothing: output.Waiting, ask.Undecided: output.Alarming}

func (o *Options) long(b *strings.Builder, e *ask.Exposure) {
	fmt.Fprintf(b, "%s://%s needs %s\n", e.Scheme, e.Host, output.Needs(e.Needs, e.Token, e.Only, e.Why))
	if len(e.Methods) > 0 {
		fmt.Fprintf(b, "  methods  %s\n  paths    %s\n", strings.Join(e.Methods, " "), strings.Join(e.Paths, " "))
	}
	if e.Reaches != "" {
		fmt.Fprintf(b, "  reaches  %s by gateway %s\n", e.Reaches, e.Gateway)
	}
	output.Statements(b, e.Because, e.Rules)
	fmt.Fprintf(b, "  try      %s\n\n", output.Command(o.Arguments(), e.Witness))
}
