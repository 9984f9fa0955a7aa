// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Options say which counts a command shows beside what it answers; the zero value: none.
type Options struct {
	// Logs are files with access logs, or document.Stdin.
	Logs []string
	// Since is how long back counts of trellis-server go, which Serving finds; zero: it is
	// not asked.
	Since   time.Duration
	Serving live.ServerOptions
}

// AddFlags registers the flags.
func (o *Options) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&o.Logs, "log", nil, `access log whose counts are shown, as trellis hits reads it, or "-" for standard input; may be repeated`)
	o.AddSinceFlags(cmd)
}

// AddSinceFlags registers those flags that are about trellis-server.
func (o *Options) AddSinceFlags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.Since, "since", 0, "with a running cluster: show what trellis-server counted since so long ago, such as 24h (default: it is not asked)")
	o.Serving.AddFlags(cmd)
}

// Check says which flags contradict each other.
func (o *Options) Check(of *live.Options) error {
	switch {
	case o.Since < 0:
		return fmt.Errorf("reading --since: %s is no time back from now", o.Since)
	case o.Since > 0 && len(o.Logs) > 0:
		return errors.New("reading the command line: --log and --since say two places where counts come from: give one of them")
	case o.Since > 0 && !of.Running():
		return errors.New("reading --since: counts since a while ago are trellis-server's: name its cluster with --context, or a log with --log")
	case slices.Contains(o.Logs, document.Stdin) && slices.Contains(of.Files, document.Stdin):
		return errors.New("reading the command line: standard input is either the documents (-f -) or the log (--log -)")
	}
	return nil
}

// Beside are counts that are shown beside an answer; nil: nobody asked for them.
type Beside struct {
	Totals []hits.Total
	// Counted says what they are of.
	Counted answer.Counted
}

// Of says what the numbers are of; nil where nobody asked for them.
func (b *Beside) Of() *answer.Counted {
	if b == nil {
		return nil
	}
	return &b.Counted
}

// Known reports whether there are numbers.
func (b *Beside) Known() bool { return b != nil && b.Counted.Known() }

// Tell writes what the numbers are of; nothing where nobody asked for them.
func (b *Beside) Tell(w io.Writer) error {
	if b == nil {
		return nil
	}
	var out strings.Builder
	Tell(&out, &b.Counted)
	_, err := io.WriteString(w, out.String())
	return err
}

// Judge does what live.Options.Judge does, with the counts.
func (o *Options) Judge(ctx context.Context, s *streams.Streams, of *live.Options) (*source.Compiled, *Beside, error) {
	if err := o.Check(of); err != nil {
		return nil, nil, err
	}
	if len(o.Logs) == 0 {
		compiled, err := of.Judge(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		out, err := o.Ask(ctx, s, of)
		return compiled, out, err
	}
	var out *Beside
	compiled, err := of.JudgeWith(ctx, s, func(m *mesh.Mesh) (err error) {
		out, err = o.read(s, m)
		return err
	})
	return compiled, out, err
}

// Open does what live.Options.Open does, with the counts. The caller closes the mesh.
func (o *Options) Open(ctx context.Context, s *streams.Streams, of *live.Options, at time.Time) (*mesh.Mesh, *Beside, error) {
	if err := o.Check(of); err != nil {
		return nil, nil, err
	}
	m, err := of.Open(ctx, s, at)
	if err != nil {
		return nil, nil, err
	}
	var out *Beside
	if len(o.Logs) > 0 {
		out, err = o.read(s, m)
	} else {
		out, err = o.Ask(ctx, s, of)
	}
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return m, out, nil
}

// read counts what the logs have.
func (o *Options) read(s *streams.Streams, m *mesh.Mesh) (*Beside, error) {
	c, err := Read(m, o.Logs, s.In)
	if err != nil {
		return nil, err
	}
	return &Beside{Totals: c.Totals(), Counted: c.Counted()}, nil
}

// Ask asks trellis-server for its counts; nil where Since is zero.
func (o *Options) Ask(ctx context.Context, s *streams.Streams, of *live.Options) (out *Beside, err error) {
	if o.Since == 0 {
		return nil, nil
	}
	server, err := of.Server(ctx, s, o.Serving)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	found := &answer.Totals{}
	if err := server.Get(ctx, "totals", url.Values{"since": {o.Since.String()}}, found); err != nil {
		return nil, err
	}
	found.Notes = append(found.Notes, server.Notes...)
	return &Beside{Totals: found.Totals, Counted: found.Counted}, nil
}

// Bound are the bindings of what was compiled.
func Bound(of *source.Compiled) []*policy.Binding {
	if of.Outcome.Policies == nil {
		return nil
	}
	return of.Outcome.Policies.Bindings
}

// Header are the columns of Cells.
func Header() []string { return []string{"ALLOWED", "DENIED", "WOULD-DENY", "FAILED", "LAST"} }

// Cells are the numbers of a hit; empty where they are not known.
func Cells(h *answer.Hit) []string {
	out := make([]string, len(Header()))
	if h == nil {
		return out
	}
	for i, n := range []uint64{h.Allowed, h.Denied, h.WouldDeny, h.Failed} {
		out[i] = strconv.FormatUint(n, 10)
	}
	if h.Last != nil {
		out[4] = h.Last.Format(time.RFC3339)
	}
	return out
}
