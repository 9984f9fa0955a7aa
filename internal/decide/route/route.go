// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Route is one entry of a virtual host.
type Route struct {
	virtualHost *VirtualHost
	config      *routev3.Route

	key     keying
	literal string // what key goes by, and what a prefix rewrite replaces
	// path compares, for what no key finds.
	path func(s *stream.Stream) match.Answer

	// asks are the questions that there are of those of matches.
	asks       []func(*Route, *stream.Stream) match.Answer
	headers    match.Headers
	parameters match.Parameters
	metadata   []*match.Metadata
	state      []*match.FilterState
	fraction   fraction

	weighted        []weighted
	total           uint64
	weightedUnknown string

	rewrite   rewriting
	mutations []mutation
	overrides overrides
}

// keying is how the index finds a route.
type keying int8

const (
	byAsking keying = iota
	byExact
	byPrefix
)

// weighted is one of the clusters of a route.
type weighted struct {
	config    *routev3.WeightedCluster_ClusterWeight
	weight    uint64
	mutation  mutation
	overrides overrides
}

// Name of the route; Istio writes the VirtualService's route into it. It may be
// empty.
func (r *Route) Name() string { return r.config.GetName() }

// Proto is what the route was made from; it must not be changed. Timeouts,
// retries and mirrors are read there.
func (r *Route) Proto() *routev3.Route { return r.config }

// newRoute compiles a route. It fails where Envoy refuses it.
func newRoute(v *VirtualHost, c *routev3.Route) (*Route, error) {
	r := &Route{virtualHost: v, config: c, overrides: newOverrides(c.GetTypedPerFilterConfig())}
	r.mutations = mutationsOf(c, v)
	m := c.GetMatch()
	if err := r.compilePath(m); err != nil {
		return nil, err
	}
	var err error
	if r.headers, err = match.NewHeaders(m.GetHeaders()); err != nil {
		return nil, err
	}
	if r.parameters, err = match.NewParameters(m.GetQueryParameters()); err != nil {
		return nil, err
	}
	for _, d := range m.GetDynamicMetadata() {
		one, err := match.NewMetadata(d)
		if err != nil {
			return nil, err
		}
		r.metadata = append(r.metadata, one)
	}
	for _, f := range m.GetFilterState() {
		one, err := match.NewFilterState(f)
		if err != nil {
			return nil, err
		}
		r.state = append(r.state, one)
	}
	r.compileAsks()
	r.fraction = newFraction(m.GetRuntimeFraction(), v.table.runtime)
	if err := r.compileWeights(); err != nil {
		return nil, err
	}
	if r.rewrite, err = newRewriting(c); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Route) compilePath(m *routev3.RouteMatch) error {
	sensitive := m.GetCaseSensitive() == nil || m.GetCaseSensitive().GetValue()
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		r.keyed(byPrefix, p.Prefix, sensitive, hasPrefix)
	case *routev3.RouteMatch_Path:
		r.keyed(byExact, p.Path, sensitive, func(path, literal string) bool { return path == literal })
	case *routev3.RouteMatch_PathSeparatedPrefix:
		r.keyed(byPrefix, p.PathSeparatedPrefix, sensitive, hasPrefix)
		compare := r.path
		r.path = func(s *stream.Stream) match.Answer {
			path, n := r.comparedPath(s), len(r.literal)
			if len(path) > n && path[n] != '/' {
				return match.No
			}
			if compare == nil {
				return match.Yes
			}
			return compare(s)
		}
	case *routev3.RouteMatch_SafeRegex:
		expression, err := match.NewRegex(p.SafeRegex)
		if err != nil {
			return err
		}
		r.path = func(s *stream.Stream) match.Answer { return expression.Match(r.comparedPath(s)) }
	case *routev3.RouteMatch_PathMatchPolicy:
		template, err := match.NewTemplate(p.PathMatchPolicy)
		if err != nil {
			return err
		}
		r.path = func(s *stream.Stream) match.Answer { return template.Match(s.Path()) }
	case *routev3.RouteMatch_ConnectMatcher_:
		r.path = func(s *stream.Stream) match.Answer { return match.Is(s.Method() == "CONNECT") }
	default:
		return errors.New("it matches no path")
	}
	return nil
}

func hasPrefix(path, literal string) bool { return strings.HasPrefix(path, literal) }

// keyed lets the index find the route; where letters of either case match, it is
// asked.
func (r *Route) keyed(key keying, literal string, sensitive bool, compare func(path, literal string) bool) {
	r.literal = literal
	if sensitive {
		r.key = key
		return
	}
	lower := asciiLower(literal)
	r.path = func(s *stream.Stream) match.Answer {
		return match.Is(compare(asciiLower(r.comparedPath(s)), lower))
	}
}

func (r *Route) comparedPath(s *stream.Stream) string {
	return matchedPath(s.Path(), r.virtualHost.table.config.GetIgnorePathParametersInPathMatching())
}

func (r *Route) compileWeights() error {
	clusters := r.config.GetRoute().GetWeightedClusters()
	for _, c := range clusters.GetClusters() {
		if (c.GetName() == "") == (c.GetClusterHeader() == "") {
			return errors.New("a weighted cluster needs either a name or a header")
		}
		weight := uint64(c.GetWeight().GetValue())
		r.total += weight
		r.weighted = append(r.weighted, weighted{
			config: c, weight: weight, overrides: newOverrides(c.GetTypedPerFilterConfig()),
			mutation: newMutation(c.GetRequestHeadersToAdd(), c.GetRequestHeadersToRemove()),
		})
		key := clusters.GetRuntimeKeyPrefix() + "." + c.GetName()
		if _, set := r.virtualHost.table.runtime[key]; set && clusters.GetRuntimeKeyPrefix() != "" {
			r.weightedUnknown = "the proxy's runtime changes the weight of " + c.GetName()
		}
	}
	if clusters == nil {
		return nil
	}
	if clusters.GetUseHashPolicy().GetValue() {
		r.weightedUnknown = "route " + r.Name() + " chooses a cluster by a hash of the request"
	}
	if r.total == 0 || r.total > 1<<32-1 {
		return fmt.Errorf("the weights of its clusters add up to %d", r.total)
	}
	return nil
}

// compileAsks notes in Envoy's order what a request has to be asked.
func (r *Route) compileAsks() {
	for _, one := range []struct {
		is  bool
		ask func(*Route, *stream.Stream) match.Answer
	}{
		{r.path != nil, askPath},
		{len(r.headers) > 0, askHeaders},
		{len(r.parameters) > 0, askParameters},
		{len(r.metadata) > 0, askMetadata},
		{len(r.state) > 0, askState},
		{len(r.config.GetMatch().GetCookies()) > 0, askCookies},
	} {
		if one.is {
			r.asks = append(r.asks, one.ask)
		}
	}
}

// matches is everything but the path that the index has found, and chance.
func (r *Route) matches(s *stream.Stream) match.Answer {
	m := r.config.GetMatch()
	if m.GetGrpc() != nil && !isGRPC(s) || !r.tlsContext(s) {
		return match.No
	}
	out := match.Yes
	for _, ask := range r.asks {
		switch a := ask(r, s); a.Truth {
		case match.False:
			return match.No
		case match.Unknown:
			if out.Truth == match.True {
				out = a
			}
		case match.True:
		}
	}
	return out
}

func askPath(r *Route, s *stream.Stream) match.Answer { return r.path(s) }

// askHeaders compares the values of a repeated header one by one, as Envoy 1.40
// does for routes; earlier ones joined them by commas.
func askHeaders(r *Route, s *stream.Stream) match.Answer {
	return r.headers.Match(&s.Headers)
}

func askParameters(r *Route, s *stream.Stream) match.Answer {
	return r.parameters.Match(s.Path())
}

func askMetadata(r *Route, s *stream.Stream) match.Answer {
	return match.And(r.metadata, func(m *match.Metadata) match.Answer { return m.Match(&s.Metadata) })
}

func askState(r *Route, s *stream.Stream) match.Answer {
	return match.And(r.state, func(f *match.FilterState) match.Answer { return f.Match(s.FilterState) })
}

func askCookies(*Route, *stream.Stream) match.Answer { return match.Cannot("it matches cookies") }

// isGRPC is Envoy's Grpc::Common::isGrpcRequestHeaders.
func isGRPC(s *stream.Stream) bool {
	kind, _ := s.Headers.Get("content-type")
	rest, is := strings.CutPrefix(kind, "application/grpc")
	return is && (rest == "" || rest[0] == '+')
}

// tlsContext compares what is known of the client's certificate. A certificate
// that a question has is one that was verified.
func (r *Route) tlsContext(s *stream.Stream) bool {
	c := r.config.GetMatch().GetTlsContext()
	has := s.Connection.TLS != nil && s.Connection.TLS.Peer != nil
	return (c.GetPresented() == nil || c.GetPresented().GetValue() == has) &&
		(c.GetValidated() == nil || c.GetValidated().GetValue() == has)
}
