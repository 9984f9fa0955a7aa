// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package explain is the verb "explain": where something comes from, and where it
// can be changed.
package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/explain"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/decision"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// Options are what the command was asked.
type Options struct {
	live.Options
	Counts    counts.Options
	Namespace string
	From      string
	Output    string
	Verbose   bool
	Graph     bool
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "explain THING",
		Short: "Say where something comes from, and where to change it",
		Long: `Take what you have in hand, and say which statement is behind it, which proxies have
it, and where to change it. THING is one of

  a request             https://shop.example.com/cart, with a method before or after
  a response's details  rbac_access_denied_matched_policy[...], jwt_authn_access_denied{...},
                        route_not_found and the others that Envoy logs
  a line of an access log, in Istio's text format or its JSON; - reads it from
                        standard input
  an object             AuthorizationPolicy NAMESPACE/NAME[/RULE], or as kubectl prints
                        it: authorizationpolicy.security.istio.io/NAME -n NAMESPACE
  a statement           Application NAMESPACE/NAME, SecureIngress NAMESPACE/NAME
  a route               NAMESPACE/APPLICATION/ROUTE

Of a refused request it also says what would have to be different: each such
request was decided too. Whom to ask goes by the layer of the statement; with
--context the cluster is asked what you may edit yourself. With --log, or with --since
of a running mesh, each rule has its counts beside it, as trellis hits has them.

Exit code 0: it was explained. 1: wrong usage, a thing that cannot be found, a cluster
that cannot be asked, or a fault of Trellis.`,
		Example: `  # Which line of whose file refused this?
  trellis explain -f examples/bookinfo 'rbac_access_denied_matched_policy[ns[bookinfo]-policy[trellis-application-reviews-deny]-rule[1]]'

  # Why does this not work, and what would?
  trellis explain -f examples/bookinfo --from bookinfo/details http://reviews.bookinfo:9080/reviews/0

  # What became of a route?
  trellis explain -f examples/bookinfo bookinfo/productpage/catalogue

  # Is it used?
  trellis explain -f examples/bookinfo bookinfo/productpage/catalogue --log examples/access-logs/gateway.log

  # What became of it in the running mesh, and may I change it?
  trellis explain --context prod bookinfo/productpage/catalogue

  # What is this object that kubectl shows?
  trellis explain -f examples/bookinfo authorizationpolicy.security.istio.io/trellis-application-details-deny -n bookinfo`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			thing, from, err := o.thing(args, s.In)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), s, thing, from)
		},
	}
	o.register(cmd)
	return cmd
}

// register adds the flags.
func (o *Options) register(cmd *cobra.Command) {
	o.AddFlags(cmd)
	o.AddDumpFlag(cmd)
	o.Counts.AddFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.Namespace, "namespace", "n", "default", "namespace of an object that is named without one")
	flags.StringVar(&o.From, "from", "", "who sends the request: NAMESPACE/NAME of a Service, pod or ServiceAccount")
	output.AddFlag(cmd, &o.Output)
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "show all rules and proxies")
	flags.BoolVar(&o.Graph, "graph", false, "write the way of a request as a graph in Graphviz's DOT language")
}

// check looks at flags that contradict each other.
func (o *Options) check() error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	if o.Graph && o.Output != "text" {
		return fmt.Errorf("reading --graph: a graph is no %s; give one of them", o.Output)
	}
	return nil
}

// thing reads what the words mean.
func (o *Options) thing(words []string, stdin io.Reader) (*explain.Thing, *ask.WorkloadRef, error) {
	if len(words) == 1 && words[0] == "-" {
		raw, err := io.ReadAll(io.LimitReader(stdin, accesslog.MaxLine+1))
		if err != nil {
			return nil, nil, fmt.Errorf("reading standard input: %w", err)
		}
		text, _, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
		words = []string{text}
	}
	thing, err := explain.ParseThing(words, o.Namespace)
	if err != nil || o.From == "" {
		return thing, nil, err
	}
	namespace, name, ok := strings.Cut(o.From, "/")
	if !ok {
		return nil, nil, fmt.Errorf("reading --from: %q is not NAMESPACE/NAME", o.From)
	}
	return thing, &ask.WorkloadRef{Namespace: namespace, Name: name}, nil
}

func (o *Options) run(ctx context.Context, s *streams.Streams, thing *explain.Thing, from *ask.WorkloadRef) (err error) {
	m, counted, err := o.Counts.Open(ctx, s, &o.Options, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	m.Prepare(ctx)
	found, err := explain.Explain(m.World, thing, from)
	if err != nil {
		return fmt.Errorf("explaining: %w", err)
	}
	doubt := mesh.Doubt{All: o.Verbose, Unknown: found.Answer != nil && found.Answer.Outcome == decide.Unknown}
	if err := m.Complain(s.Err, s.ErrColour, doubt); err != nil {
		return err
	}
	if o.Graph {
		if found.Answer == nil {
			return fmt.Errorf("drawing a graph: %s is no request, and has no way", found.Of)
		}
		return decision.Graph(s.Out, answer.Of(m.World, found.Request, found.Answer))
	}
	shown := view{answer.ExplanationOf(m.World, found)}
	shown.Source, shown.Counted = m.From, counted.Of()
	if counted.Known() {
		shown.Count(counted.Totals)
	}
	shown.mine(ctx, m)
	return output.Write(s.Out, o.Output, shown.Explanation, func(w io.Writer) error { return shown.text(w, s.OutColour, o.Verbose) })
}
