// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package can is the verb "can": it says what becomes of one request, and by which
// statement.
package can

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/decision"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Options are the flags.
type Options struct {
	live.Options
	From    string
	Token   string
	Claims  string
	Headers []string
	HTTP2   bool
	Output  string
	Verbose bool
	Graph   bool
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "can [METHOD] URL",
		Short: "Say what becomes of one request, and by which statement",
		Long: `Follow one request through the mesh that the files describe, on the configuration
that Istio itself would send to each proxy, and say what becomes of it. With --context
the mesh is a running one, and its istiod is asked what it sends; with --config-dump it
is what Envoys say that they have.

  Allow     it reaches the application
  Answered  a proxy answers as it was told to, such as by a redirect
  Deny      a proxy refuses it
  NoRoute   nothing is published there
  Fails     it should be delivered and cannot be
  Unknown   it depends on what is not known; the reason is said

with the statement that decided, and where another outcome would be stated. The
request comes from the internet, unless --from names a workload. Errors of the
files go to standard error; what has errors is closed, as it would be in a cluster.

Exit code 0: Allow or Answered. 1: wrong usage, a file that cannot be opened, a
cluster that cannot be asked, or a fault of Trellis. 2: Deny, NoRoute or Fails. 3: Unknown.`,
		Example: `  # May anybody read the start page?
  trellis can -f examples/bookinfo GET https://bookinfo.example.com/productpage

  # Every step of a call inside the mesh
  trellis can -f examples/bookinfo --from bookinfo/productpage http://reviews:9080/reviews/0 -v

  # With a token that claims this much
  trellis can -f examples/bookinfo https://bookinfo.example.com/api/v1/products --claims '{"iss": "https://login.example.com", "aud": "bookinfo", "sub": "me"}'

  # In the running mesh
  trellis can --context prod https://bookinfo.example.com/productpage

  # By what two Envoys have: GET /config_dump?include_eds on their admin ports
  trellis can --config-dump gateway.json --config-dump productpage.json https://bookinfo.example.com/

  # The way as a picture
  trellis can -f examples/bookinfo https://bookinfo.example.com/ --graph > way.dot`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.CheckFormat(o.Output); err != nil {
				return err
			}
			if o.Graph && o.Output != "text" {
				return fmt.Errorf("reading --graph: a graph is no %s; give one of them", o.Output)
			}
			request, err := o.request(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), s, request)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *Options) addFlags(cmd *cobra.Command) {
	o.AddFlags(cmd)
	o.AddDumpFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", `who sends it: NAMESPACE/NAME of a Service, pod or ServiceAccount, or an IP address on the internet`)
	flags.StringVar(&o.Token, "token", "", "a bearer token, as a client has it")
	flags.StringVar(&o.Claims, "claims", "", `the claims of a token whose signature is good, as JSON: '{"iss": "https://login.example.com", "aud": ["shop"]}'`)
	flags.StringArrayVarP(&o.Headers, "header", "H", nil, `a header, as "name: value"; may be repeated`)
	flags.BoolVar(&o.HTTP2, "http2", false, "speak HTTP/2")
	output.AddFlag(cmd, &o.Output)
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show every step, and warnings about the files")
	flags.BoolVar(&o.Graph, "graph", false, "write the way as a graph in Graphviz's DOT language")
}

func (o *Options) request(args []string) (*ask.Request, error) {
	r := &ask.Request{Method: "GET", Bearer: o.Token, HTTP2: o.HTTP2}
	text := args[len(args)-1]
	if len(args) == 2 {
		r.Method = strings.ToUpper(args[0])
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	r.URL = u
	if address, err := netip.ParseAddr(o.From); err == nil {
		r.Address = address
	} else if o.From != "" {
		namespace, name, ok := strings.Cut(o.From, "/")
		if !ok {
			return nil, fmt.Errorf("reading --from: %q is neither NAMESPACE/NAME nor an IP address", o.From)
		}
		r.From = &ask.WorkloadRef{Namespace: namespace, Name: name}
	}
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("reading --header: %q has no colon", h)
		}
		r.Headers = append(r.Headers, stream.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	if o.Claims != "" {
		if o.Token != "" {
			return nil, fmt.Errorf("reading --claims: a token is given too; give one of them")
		}
		r.Claims = &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(o.Claims), r.Claims); err != nil {
			return nil, fmt.Errorf("reading --claims: %w", err)
		}
	}
	return r, nil
}

// run asks and writes.
func (o *Options) run(ctx context.Context, s *streams.Streams, r *ask.Request) (err error) {
	m, err := o.Open(ctx, s, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	found, err := m.Can(r)
	if err != nil {
		return err
	}
	doubt := mesh.Doubt{All: o.Verbose, Unknown: found.Outcome == decide.Unknown, Token: o.Token != ""}
	if err := m.Complain(s.Err, s.ErrColour, doubt); err != nil {
		return err
	}
	view := answer.Of(m.World, r, found)
	view.Source = m.From
	if o.Graph {
		err = decision.Graph(s.Out, view)
	} else {
		err = output.Write(s.Out, o.Output, view, func(w io.Writer) error { return decision.Text(w, view, s.OutColour, o.Verbose) })
	}
	if err != nil {
		return err
	}
	switch found.Outcome {
	case decide.Allow, decide.Answered:
		return m.Verdict(nil)
	case decide.Unknown:
		return exit.ErrUnknown
	case decide.Deny, decide.NoRoute, decide.Fails:
	}
	return exit.ErrFindings
}
