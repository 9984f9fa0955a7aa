// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"slices"
	"strings"

	alpnv2 "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/route"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// connectionManager is an HTTP connection manager, compiled.
type connectionManager struct {
	hcm     *hcm.Manager
	table   *route.Table
	filters []httpFilter
	// alpn is what the filters make of the application protocols towards
	// upstream, by the version that is spoken there; nil: they change nothing.
	alpn map[hcm.Version][]string
	// unknown says what of it cannot be decided.
	unknown string
}

// routeTables are compiled route configurations: several listeners share one.
type routeTables map[*routev3.RouteConfiguration]*route.Table

func (t routeTables) of(c *routev3.RouteConfiguration, runtime map[string]string) *route.Table {
	table, ok := t[c]
	if !ok {
		table = route.Compile(c, route.Surroundings{Runtime: runtime})
		t[c] = table
	}
	return table
}

// compileManager is called with the lock held.
func (p *proxy) compileManager(m *hcmv3.HttpConnectionManager) *connectionManager {
	out := &connectionManager{}
	routes, ok := p.config.RoutesOf(m)
	if !ok {
		out.unknown = fmt.Sprintf("the routes %q are not known", m.GetRds().GetRouteConfigName())
		if m.GetScopedRoutes() != nil {
			out.unknown = "the proxy chooses its routes by scope"
		}
		return out
	}
	runtime := p.config.Resources().Runtime
	if runtime == nil {
		runtime = xds.DefaultRuntime()
	}
	out.hcm = hcm.Compile(m, hcm.Surroundings{
		Runtime: runtime, InternalOnlyHeaders: routes.GetInternalOnlyHeaders(), LocalURI: p.node.Identity().SPIFFE(),
	})
	out.table = p.routes.of(routes, runtime)
	for _, f := range m.GetHttpFilters() {
		filter, err := p.compileHTTPFilter(f)
		if err != nil {
			filter = httpFilter{name: f.GetName(), unknown: fmt.Sprintf("HTTP filter %s: %v", f.GetName(), err)}
		}
		if alpn := (&alpnv2.FilterConfig{}); f.GetTypedConfig().MessageIs(alpn) && f.GetTypedConfig().UnmarshalTo(alpn) == nil {
			out.alpn = overrides(alpn)
		}
		filter.disabled = f.GetDisabled()
		out.filters = append(out.filters, filter)
	}
	return out
}

// overrides reads what Istio's ALPN filter offers upstream.
func overrides(c *alpnv2.FilterConfig) map[hcm.Version][]string {
	out := map[hcm.Version][]string{}
	for _, o := range c.GetAlpnOverride() {
		switch o.GetUpstreamProtocol() {
		case alpnv2.FilterConfig_HTTP11:
			out[hcm.HTTP11] = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP2:
			out[hcm.HTTP2] = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP10:
			// Envoy speaks no HTTP/1.0 upstream.
		}
	}
	return out
}

// exchange is one request in the filters of one proxy.
type exchange struct {
	walk *walk
	p    *proxy
	s    *stream.Stream
	// at is the route as far as it is chosen, one of cases.
	at    route.Case
	cases []route.Case
	// reroute: a filter wants it chosen anew.
	reroute bool
	// share is for which part of the requests the verdict of the filter that has
	// just run holds; 0 is all. The others go on.
	share float64
}

// http is a request at a connection manager.
func (w *walk) http(p *proxy, m *connectionManager, session listener.Session, load payload) Verdict {
	if m.unknown != "" {
		return w.unknown(p.name, "%s", m.unknown)
	}
	if why := mismatched(session, load); why != "" {
		w.add(Step{Proxy: p.name, Stage: StageHTTP, Says: why, Stops: true})
		return w.fails(&stream.Reply{Flags: []string{"DPE"}}, why)
	}
	received := m.hcm.Receive(session.Connection, load.request)
	switch {
	case received.Unknown != "":
		return w.unknown(p.name, "%s", received.Unknown)
	case received.Reply != nil:
		w.add(Step{Proxy: p.name, Stage: StageHTTP, Says: fmt.Sprintf("refuses the request itself: %s", received.Reply.Details), Stops: true})
		return w.end(Verdict{Outcome: Deny, Reply: received.Reply})
	}
	s := received.Stream
	s.Tokens = load.tokens
	cases := m.table.Pick(s).Cases
	return w.branch(len(cases), func(own *walk, i int) Branch {
		if reply := upgraded(m, received.Upgrade, &cases[i]); reply != nil {
			own.add(Step{Proxy: p.name, Stage: StageHTTP, Says: fmt.Sprintf("does not let the connection change to %s", received.Upgrade), Stops: true})
			return Branch{cases[i].Share, own.end(Verdict{Outcome: Deny, Reply: reply})}
		}
		return Branch{cases[i].Share, own.filtered(own.exchange(p, s, cases, i), m, load, 0)}
	})
}

// exchange is one of the cases of a request. What filters make of it must not show in
// the others.
func (w *walk) exchange(p *proxy, s *stream.Stream, cases []route.Case, i int) *exchange {
	if len(cases) > 1 {
		s = s.Clone()
	}
	return &exchange{walk: w, p: p, s: s, at: cases[i], cases: cases}
}

// upgraded is the refusal of another protocol that a request wants to change to.
func upgraded(m *connectionManager, protocol string, c *route.Case) *stream.Reply {
	if protocol == "" {
		return nil
	}
	return m.hcm.Upgraded(protocol, c.Upgrades())
}

// mismatched says why a request cannot be spoken over what TLS has settled on.
func mismatched(session listener.Session, load payload) string {
	switch {
	case session.Protocol == "h2" && load.request.Version != hcm.HTTP2:
		return "HTTP/2 was agreed on, and HTTP/1.1 was spoken"
	case strings.HasPrefix(session.Protocol, "http/1") && load.request.Version == hcm.HTTP2:
		return "HTTP/1.1 was agreed on, and HTTP/2 was spoken"
	}
	return ""
}

// filtered runs the HTTP filters from one on and then the router.
func (w *walk) filtered(x *exchange, m *connectionManager, load payload, from int) Verdict {
	for i := from; i < len(m.filters); i++ {
		f := &m.filters[i]
		own, why := f.forRoute(&x.at)
		if why != "" {
			return w.unknown(x.p.name, "%s", why)
		}
		if own == nil {
			continue
		}
		if own.unknown != "" {
			return w.unknown(x.p.name, "%s", own.unknown)
		}
		if own.run == nil {
			continue
		}
		x.share = 0
		switch end := own.run(x); {
		case end == nil:
		case x.share == 0:
			return *end
		default:
			share := x.share
			return join([]Branch{{share, *end}, {1 - share, w.filtered(x, m, load, i+1)}})
		}
		if x.reroute {
			return w.rerouted(x, m, load, i+1)
		}
	}
	return w.routed(x, m, load)
}

// rerouted chooses the route of a request anew, by what filters before have made of
// it, and goes on with the filters from one on.
func (w *walk) rerouted(x *exchange, m *connectionManager, load payload, from int) Verdict {
	x.reroute = false
	cases := m.table.Pick(x.s).Cases
	switch {
	case len(cases) == 1:
		x.at, x.cases = cases[0], cases
		return w.filtered(x, m, load, from)
	case slices.Equal(cases, x.cases):
		// The chance is the same number: it decides as before.
		return w.filtered(x, m, load, from)
	case len(x.cases) > 1:
		return w.unknown(x.p.name, "chance decides about the route twice")
	}
	return w.branch(len(cases), func(own *walk, i int) Branch {
		return Branch{cases[i].Share, own.filtered(own.exchange(x.p, x.s, cases, i), m, load, from)}
	})
}

// routed is the router filter.
func (w *walk) routed(x *exchange, m *connectionManager, load payload) Verdict {
	if x.at.Unknown != "" {
		return w.unknown(x.p.name, "%s", x.at.Unknown)
	}
	reply, why := x.at.Answer(x.s)
	if why != "" {
		return w.unknown(x.p.name, "%s", why)
	}
	step := Step{Proxy: x.p.name, Stage: StageRoute, Says: "no route matches", Stops: reply != nil}
	if x.at.Route != nil {
		step.Rule, step.Object = x.at.Route.Name(), x.p.object(x.at.Route.Proto().GetMetadata())
		step.Says = "the route matches"
		if reply != nil {
			step.Says = fmt.Sprintf("the route answers with %d", reply.Code)
		}
	}
	w.add(step)
	if reply != nil {
		return w.end(Verdict{Outcome: outcomeOf(x.at.Route, reply), Reply: reply})
	}
	for _, name := range x.at.Forward(x.s) {
		if name == stream.Path || name == stream.Authority {
			return w.unknown(x.p.name, "the route changes %s in a way that cannot be told", name)
		}
	}
	load.request = requestOf(load.request, x.s)
	return w.forward(x.p, x.at.Cluster, forwarding{connection: x.s.Connection, load: load, alpn: m.alpn})
}

// outcomeOf is what an answer of the router means.
func outcomeOf(r *route.Route, reply *stream.Reply) Outcome {
	switch {
	case r == nil:
		return NoRoute
	case reply.Code >= 400:
		return Deny
	}
	return Answered
}

// requestOf is the request as it goes upstream.
func requestOf(was *hcm.Request, s *stream.Stream) *hcm.Request {
	out := *was
	out.Method, out.Target, out.Authority = s.Method(), s.Path(), s.Authority()
	out.Scheme, _ = s.Headers.Get(stream.Scheme)
	out.Headers = s.Sent()
	return &out
}
