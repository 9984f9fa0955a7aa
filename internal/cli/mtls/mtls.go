// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mtls is the verb "mtls": how workloads secure what they send each other.
package mtls

import (
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mtls",
		Short: "Say whether clients and services agree on mutual TLS, and why",
		Long: `mtls compares what the proxies of clients send with what the proxies of servers
take. Both are read from the configuration that Istio sends to each of them, endpoint
by endpoint.`,
		Example: `  # Who gets on with whom?
  trellis mtls check -f examples/bookinfo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCheck(s), newExplain(s), newFix(s), newGraph(s), newPlan(s))
	return cmd
}

// reply is how the answer to a question is shown, and what it comes to.
type reply[V any] struct {
	format  string
	text    func(V, io.Writer) error
	verdict func(V) error
}

// asked opens what a question is about, asks it and writes the answer.
func asked[V any](cmd *cobra.Command, s *streams.Streams, o *live.Options, ask func(*mesh.Mesh) (V, error), a reply[V]) error {
	m, err := o.Open(cmd.Context(), s, time.Now())
	if err != nil {
		return err
	}
	view, err := ask(m)
	complaint := m.Complain(s.Err, s.ErrColour, mesh.Doubt{})
	if err := errors.Join(err, complaint, m.Close()); err != nil {
		return err
	}
	if err := output.Write(s.Out, a.format, view, func(w io.Writer) error { return a.text(view, w) }); err != nil {
		return err
	}
	return m.Verdict(a.verdict(view))
}

// changeable makes sure that changes can be tried: istiod knows nothing of one that
// nobody has made.
func changeable(o *live.Options) {
	if o.Running() && o.Source == "" && len(o.Files) == 0 {
		o.Source = "generator"
	}
}
