// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package can is the verb "can": what becomes of one request.
package can

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Options are the flags.
type Options struct {
	source.Options
	From    string
	Token   string
	Claims  string
	Headers []string
	HTTP2   bool
	Output  string
	Verbose bool
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "can [METHOD] URL",
		Short: "Say what becomes of one request, and by which statement",
		Long: `can follows one request through the mesh that the files describe, on the
configuration that Istio would send to each proxy, and says what becomes of it:
Allow, Deny, Answered (a redirect or an answer of the gateway's own), NoRoute,
Fails or Unknown, with the response code, and the statements that decided.

The request comes from the internet, unless --from names a workload.

The exit code is 0 when it is allowed or answered, 1 when not.`,
		Example: `  # May anybody read the start page?
  trellis can -f examples/bookinfo GET https://bookinfo.example.com/productpage

  # And the API without a login?
  trellis can -f examples/bookinfo https://bookinfo.example.com/api/v1/products

  # Every step of a call inside the mesh
  trellis can -f examples/bookinfo --from bookinfo/productpage http://reviews:9080/reviews/0 -v`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := o.request(args)
			if err != nil {
				return err
			}
			m, err := mesh.Open(cmd.Context(), &o.Options, s.In, time.Now())
			if err != nil {
				return err
			}
			answer, err := m.Can(request)
			if err != nil {
				_ = m.Close()
				return err
			}
			if err := o.write(s, answer); err != nil {
				return err
			}
			if err := m.Close(); err != nil {
				return err
			}
			if answer.Outcome != decide.Allow && answer.Outcome != decide.Answered {
				return exit.ErrFindings
			}
			return nil
		},
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", `who sends it: NAMESPACE/NAME of a Service, pod or ServiceAccount, or an IP address on the internet`)
	flags.StringVar(&o.Token, "token", "", "a bearer token, as a client has it")
	flags.StringVar(&o.Claims, "claims", "", `the claims of a token whose signature is good, as JSON: '{"iss": "https://login.example.com", "aud": ["shop"]}'`)
	flags.StringArrayVarP(&o.Headers, "header", "H", nil, `a header, as "name: value"; may be repeated`)
	flags.BoolVar(&o.HTTP2, "http2", false, "speak HTTP/2")
	flags.StringVarP(&o.Output, "output", "o", "text", "format: text, json")
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show every step")
	return cmd
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

func (o *Options) write(s *streams.Streams, a *ask.Answer) error {
	switch o.Output {
	case "json":
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		return e.Encode(a)
	case "text":
		return text(s, a, o.Verbose)
	}
	return fmt.Errorf("reading -o: %q is none of text and json", o.Output)
}

func text(s *streams.Streams, a *ask.Answer, verbose bool) error {
	var b strings.Builder
	b.WriteString(string(a.Outcome))
	if a.Reply != nil && a.Reply.Code > 0 {
		fmt.Fprintf(&b, " %d", a.Reply.Code)
	}
	if a.Reply != nil && a.Reply.Details != "" {
		fmt.Fprintf(&b, "  %s", a.Reply.Details)
	}
	b.WriteString("\n")
	if a.Why != "" {
		fmt.Fprintf(&b, "  %s\n", a.Why)
	}
	for _, origin := range a.Because {
		fmt.Fprintf(&b, "  by %s %s", origin.Object, origin.Field)
		if origin.Source != "" {
			fmt.Fprintf(&b, "  (%s)", origin.Source)
		}
		b.WriteString("\n")
	}
	if verbose {
		for i, step := range a.Steps {
			fmt.Fprintf(&b, "%3d. %-28s %-12s %s", i+1, step.Proxy, step.Stage, step.Says)
			if step.Rule != "" {
				fmt.Fprintf(&b, "  [%s]", step.Rule)
			}
			b.WriteString("\n")
		}
	}
	_, err := s.Out.Write([]byte(b.String()))
	return err
}
