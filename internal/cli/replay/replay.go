// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay is the verb "replay": which real requests a draft would let end in
// another way.
package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/document"
)

// Options are what the command was asked.
type Options struct {
	live.Options
	Before  []string
	From    string
	Claims  string
	Output  string
	Verbose bool
	// Counts are those of trellis-server, where it is to be asked.
	Counts counts.Options
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "replay [LOG...] | replay --context NAME -f DRAFT --since AGO",
		Short: "Say which real requests a draft would let end in another way",
		Long: `Decide the requests of access logs by the files, and say which of them would end in
another way than they did: how many, a witness, and the statement that decides. Lines
are Istio's text format or its JSON, of gateways and of sidecars; or requests as one
line of JSON each:

  {"from": "shop/cart", "method": "GET", "url": "http://stock.shop:80/x", "was": "Allow"}

with headers and claims if there are any; without from it is the internet. Without a
LOG, or with -, lines come from standard input. Any length of log takes the same
memory.

A log keeps no tokens. A request that passed, and for which a token is needed now,
depends on the one that it may have had: --claims says what to take for granted, and
--before the files that were in force, by which a request that passed without a token
is known. Lines that cannot be read are named and left out.

With --context requests are decided by what runs there, or with -f by a draft over it.
With --since nothing is read: what trellis-server counted since so long ago is decided by
what runs there and by the draft over it. A count keeps neither path nor token, so that it
may depend on them; then a request that changes and one that stays are shown. A request
that passes a gateway and a workload is counted by both.

Exit code 0: nothing changes, as far as it is known. 1: wrong usage, a file that
cannot be opened, or a fault of Trellis. 2: requests would end in another way. 3:
none of those, and some cannot be told.`,
		Example: `  # Would this draft break somebody?
  trellis replay -f examples/bookinfo examples/access-logs/gateway.log

  # Taking for granted that those who need a token have a good one
  trellis replay -f examples/bookinfo --claims '{"iss": "https://login.example.com", "sub": "x", "aud": "bookinfo"}' examples/access-logs/gateway.log -o json

  # What of last week's requests would the draft let end in another way?
  trellis replay --context prod -f examples/bookinfo/productpage --since 168h`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.start(cmd, s, args) },
	}
	o.AddFlags(cmd)
	o.Counts.AddSinceFlags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.Before, "before", nil, "file or directory with the documents that were in force when the log was written; may be repeated")
	flags.StringVar(&o.From, "from", "", "who sent the requests: NAMESPACE/NAME of a Service, pod or ServiceAccount (default: what the line says, or the internet)")
	flags.StringVar(&o.Claims, "claims", "", "the claims of the token that requests are taken to have had where one is needed, as JSON")
	output.AddFlag(cmd, &o.Output)
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show everything, and warnings about the files")
	return cmd
}

// start tells logs and counts apart.
func (o *Options) start(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	if o.Counts.Since != 0 {
		if err := o.checkCounted(args); err != nil {
			return err
		}
		return o.recount(cmd.Context(), s)
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{document.Stdin}
	}
	return o.run(cmd.Context(), s, options, args)
}

func (o *Options) options() (replay.Options, error) {
	var out replay.Options
	if o.From != "" {
		namespace, name, ok := strings.Cut(o.From, "/")
		if !ok {
			return out, fmt.Errorf("reading --from: %q is not NAMESPACE/NAME", o.From)
		}
		out.From = &ask.WorkloadRef{Namespace: namespace, Name: name}
	}
	if o.Claims != "" {
		out.Claims = &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(o.Claims), out.Claims); err != nil {
			return out, fmt.Errorf("reading --claims: %w", err)
		}
	}
	return out, nil
}

func (o *Options) run(ctx context.Context, s *streams.Streams, options replay.Options, logs []string) (err error) {
	now, draft, before := time.Now(), o.Options, o.Options.Options
	before.Files = o.Before
	if len(before.Files) > 0 {
		draft.Together = &mesh.Together{}
	}
	m, err := draft.Open(ctx, s, now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if len(before.Files) > 0 {
		was, err := draft.Together.Open(ctx, &before, s.In, now)
		if err != nil {
			return fmt.Errorf("reading what was in force: %w", err)
		}
		defer func() { err = errors.Join(err, was.Close()) }()
		options.Before = was.World
	}
	if err := m.Complain(s.Err, s.ErrColour, mesh.Doubt{All: o.Verbose}); err != nil {
		return err
	}
	r := replay.New(m.World, options)
	for _, name := range logs {
		if err := follow(r, name, s.In); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
	}
	found := r.Report()
	view := viewOf(found)
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return view.text(w, s.OutColour, o.Verbose) }); err != nil {
		return err
	}
	switch {
	case found.Changed > 0:
		return exit.ErrFindings
	case found.Unknown > 0 || found.Depends > 0 || found.UnreadCount > 0:
		return exit.ErrUnknown
	}
	return m.Verdict(nil)
}

// follow reads a log line by line. Lines of several logs are counted on.
func follow(r *replay.Replay, name string, stdin io.Reader) (err error) {
	from := stdin
	if name != document.Stdin {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		from = file
	}
	reader := bufio.NewReaderSize(from, 64<<10)
	for number := 1; ; number++ {
		line, long, err := readLine(reader)
		switch {
		case errors.Is(err, io.EOF) && line == "" && !long:
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case long:
			r.Skip(number, accesslog.ErrTooLong.Error())
		default:
			r.Line(number, line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// readLine reads to the end of a line, and keeps no more of it than is ever read.
func readLine(from *bufio.Reader) (line string, long bool, err error) {
	var out []byte
	for {
		part, err := from.ReadSlice('\n')
		if len(out)+len(part) > accesslog.MaxLine+1 {
			long = true
		} else {
			out = append(out, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return strings.TrimRight(string(out), "\r\n"), long, err
		}
	}
}
