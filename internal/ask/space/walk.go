// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide/cluster"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// maxHops bounds how many proxies are looked at behind each other.
const maxHops = 8

// walker looks at what a class meets on its way through one world.
type walker struct {
	*Explorer
	side *Side
	add  func(class.Dimension, atom.Pattern)
	// met is told of each rule that is asked, with what is known of it; nil: nobody
	// wants to know.
	met func(proxy string, r *Rule, t truth)
	// ways are the listeners where the class comes in, and stops those of them that no
	// request of it passes.
	ways, stops int
}

// begin is where the client's connection comes in.
func (w *walker) begin(p *class.Point) {
	door := w.side.Door
	v := &view{point: p, port: uint32(door.To.Port()), tls: door.Mutual || door.TLS, blind: w.blind}
	if !door.Mutual {
		none := ""
		v.identity = &none
	}
	if door.Workload == nil {
		w.arrive(door.To, w.side.Door.connection(p), v, 0)
		return
	}
	node, ok := w.side.Proxies.Node(*door.Workload)
	if !ok {
		return
	}
	if len(node.Addresses) > 0 {
		v.address = node.Addresses[0]
	}
	config, err := w.side.Proxies.Config(node)
	if err != nil {
		return
	}
	if l, ok := config.Outbound(door.To); ok {
		w.pass(node, config, l, w.side.Door.connection(p), v, 0)
		return
	}
	w.arrive(door.To, w.side.Door.connection(p), v, 0)
}

func (w *walker) arrive(to netip.AddrPort, c *stream.Connection, v *view, hops int) {
	if hops > maxHops {
		return
	}
	for _, node := range w.side.Proxies.At(to.Addr()) {
		config, err := w.side.Proxies.Config(node)
		if err != nil {
			continue
		}
		if l, ok := config.Inbound(to); ok {
			w.pass(node, config, l, c, v, hops)
		}
	}
}

// pass is a connection at one listener.
func (w *walker) pass(node xds.Node, config *xds.Config, l *listenerv3.Listener, c *stream.Connection, v *view, hops int) {
	version := "http/1.1"
	if !w.side.Door.HTTP {
		version = ""
	}
	choice := w.side.Reader.listener(l).Choose(c, version)
	if hops == 0 {
		w.ways++
	}
	if choice.Chain == nil {
		return
	}
	own := *v
	v = &own
	v.placed = map[string]bool{}
	// Who does not end TLS learns nothing of the client from it.
	v.tls = v.tls && choice.Chain.GetTransportSocket() != nil
	ch := w.side.Reader.chain(config, choice.Chain)
	if w.met == nil && w.refused(ch, v) {
		if hops == 0 && w.understood(node, choice.Chain) {
			w.stops++
		}
		return
	}
	w.through(node, config, ch, v, hops)
}

// understood reports whether nothing of a chain makes a verdict Unknown, where that is
// asked for.
func (w *walker) understood(node xds.Node, c *listenerv3.FilterChain) bool {
	return w.Passing && w.side.Evaluator != nil && w.side.Evaluator.Understands(node, c)
}

// through is a class in the filters of a chain, one after the other.
func (w *walker) through(node xds.Node, config *xds.Config, ch *chain, v *view, hops int) {
	for _, r := range ch.network {
		if !w.ask(node, r, v) {
			return
		}
	}
	if !ch.http {
		for _, name := range ch.clusters {
			w.forward(node, config, name, v, hops)
		}
		return
	}
	for _, f := range ch.filters {
		switch f := f.(type) {
		case *rules:
			if !w.ask(node, f, v) {
				return
			}
		case *tokens:
			w.look(f, v)
		}
	}
	if ch.table != nil {
		w.route(node, config, ch.table, v, hops)
	}
}

// refused reports whether a proxy refuses every request of the class, whatever else
// they have: which of its rules does makes no difference to who may pass.
func (w *walker) refused(ch *chain, v *view) bool {
	seen := *v
	seen.blind = nil
	for _, r := range ch.network {
		if w.refuses(r, &seen) {
			return true
		}
	}
	for _, f := range ch.filters {
		switch f := f.(type) {
		case *rules:
			if w.refuses(f, &seen) {
				return true
			}
		case *tokens:
			seen.tokens = true
		}
	}
	return ch.http && ch.table != nil && w.leadsNowhere(ch.table, &seen)
}

// leadsNowhere reports whether it is settled that the proxy answers itself: there is
// no route, or one that redirects or responds.
func (w *walker) leadsNowhere(t *table, v *view) bool {
	silent := *w
	silent.add = func(class.Dimension, atom.Pattern) {}
	at, known := silent.domain(t, v)
	switch {
	case !known:
		return false
	case at == nil:
		return true
	}
	for i := range at.routes {
		switch at.routes[i].condition.value(v) {
		case no:
		case open:
			if at.routes[i].forwards() {
				return false
			}
		case yes:
			return !at.routes[i].forwards()
		}
	}
	return true
}

func (w *walker) refuses(r *rules, v *view) bool {
	if !r.refusing() || r.optional {
		return false
	}
	for _, rule := range w.residual(r, v) {
		switch t := rule.condition.value(v); {
		case r.action == rbacv3.RBAC_DENY && t == yes:
			return true
		case r.action == rbacv3.RBAC_ALLOW && t != no:
			return false
		}
	}
	return r.action == rbacv3.RBAC_ALLOW
}

// ask goes through the rules of a filter. It is false where every request of the
// class is refused.
func (w *walker) ask(node xds.Node, r *rules, v *view) bool {
	if r == nil || w.met == nil && !r.refusing() {
		return true
	}
	undecided := r.optional
	for _, rule := range w.residual(r, v) {
		t := rule.condition.value(v)
		if w.met != nil && !r.shadow {
			w.met(node.String(), rule, t)
		}
		switch t {
		case no:
		case open:
			undecided = true
			rule.condition.leaves(v, w.add)
		case yes:
			if w.met != nil {
				w.meetRest(node, r, rule, v)
			}
			// A rule before it may be the one that decides.
			return r.shadow || r.action != rbacv3.RBAC_DENY || undecided
		}
	}
	return r.shadow || r.action != rbacv3.RBAC_ALLOW || undecided
}

// meetRest tells of the rules behind one that has decided.
func (w *walker) meetRest(node xds.Node, r *rules, decided *Rule, v *view) {
	at := slices.Index(r.list, decided)
	for _, rule := range r.list[at+1:] {
		if !r.shadow {
			w.met(node.String(), rule, rule.condition.value(v))
		}
	}
}

// residual are the rules that what is settled does not rule out. They are remembered
// for each class, and those of a class inside it are looked for among them: most
// rules of a gateway are about other hosts.
func (w *walker) residual(r *rules, v *view) []*Rule {
	if w.met != nil || len(r.list) < 4 {
		return r.list
	}
	key := residualKey{rules: r, port: v.port, tls: v.tls, tokens: v.tokens, taken: v.taken, address: v.address, path: v.path, placed: v.places()}
	if v.identity != nil {
		key.identity = "=" + *v.identity
	}
	if v.host != nil {
		key.host = "=" + *v.host
	}
	var list []*Rule
	found := false
	for p := v.point; p != nil; p = p.Before() {
		key.point = p
		if known, ok := w.residuals[key]; ok {
			if p == v.point {
				return known
			}
			list, found = known, true
			break
		}
	}
	if !found {
		list = r.list
		if v.host == nil {
			list = r.at(v.point.At(class.Dimension{Kind: class.Host}))
		}
	}
	var out []*Rule
	for _, rule := range list {
		if rule.condition.value(v) != no {
			out = append(out, rule)
		}
	}
	key.point = v.point
	w.residuals[key] = out
	return out
}

// residualKey is a class, and all that a proxy sees of its requests.
type residualKey struct {
	rules              *rules
	point              *class.Point
	port               uint32
	tls, tokens, taken bool
	identity, host     string
	address            netip.Addr
	path               rewriting
	placed             string
}

// look is a JWT filter.
func (w *walker) look(f *tokens, v *view) {
	v.tokens, v.kept = true, true
	if v.taken {
		return
	}
	token := class.Dimension{Kind: class.Token}
	for _, p := range f.providers {
		w.place(p, v)
		issuer := atom.Pattern{Text: p.GetIssuer()}
		if v.takes(token, issuer) == open {
			w.add(token, issuer)
		}
		if v.takes(token, issuer) != yes {
			continue
		}
		for _, audience := range p.GetAudiences() {
			leaf{class.Dimension{Kind: class.Claim, Name: "aud"}, atom.Pattern{Text: audience}}.leaves(v, w.add)
		}
		// The filters behind this one still have the claims; the next proxy has not.
		v.kept = p.GetForward()
	}
}

// place notes where a provider's tokens are sent.
func (w *walker) place(p *jwtv3.JwtProvider, v *view) {
	at := witness.Bearer
	switch {
	case len(p.GetFromHeaders()) > 0:
		at = witness.Place{Header: strings.ToLower(p.GetFromHeaders()[0].GetName()), Prefix: p.GetFromHeaders()[0].GetValuePrefix()}
	case len(p.GetFromParams()) > 0:
		at = witness.Place{Parameter: p.GetFromParams()[0]}
	case len(p.GetFromCookies()) > 0:
		at = witness.Place{Cookie: p.GetFromCookies()[0]}
	}
	if at.Header != "" {
		v.placed[at.Header] = true
	}
	if _, known := w.side.Door.Places[p.GetIssuer()]; !known {
		w.side.Door.Places[p.GetIssuer()] = at
	}
}

// route chooses as the router does, and goes on behind it.
func (w *walker) route(node xds.Node, config *xds.Config, t *table, v *view, hops int) {
	at, known := w.domain(t, v)
	if !known || at == nil {
		return
	}
	for i := range at.routes {
		r := &at.routes[i]
		switch r.condition.value(v) {
		case no:
			continue
		case open:
			// Which route it is has to be known first: what is behind others does
			// not matter.
			r.condition.leaves(v, w.add)
			if w.pending {
				return
			}
		case yes:
		}
		w.lead(node, config, r, v, hops)
		return
	}
}

// lead follows a route to its clusters.
func (w *walker) lead(node xds.Node, config *xds.Config, r *route, v *view, hops int) {
	next := *v
	action := r.protos[0].GetRoute()
	if host := action.GetHostRewriteLiteral(); host != "" {
		next.host = &host
	}
	if to := action.GetPrefixRewrite(); to != "" && !v.path.is {
		m := r.protos[0].GetMatch()
		next.path = rewriting{is: true, from: m.GetPrefix() + m.GetPathSeparatedPrefix(), to: to}
		if m.GetPath() != "" {
			next.path = rewriting{is: true, whole: true, to: to}
		}
	}
	if action.GetRegexRewrite() != nil || action.GetPathRewritePolicy() != nil {
		w.blind("a path that is rewritten by an expression")
	}
	for _, name := range r.clusters {
		w.forward(node, config, name, &next, hops)
	}
}

// inner are the clusters of a sidecar that lead into its application.
func inner(node xds.Node, name string) bool {
	return node.Type == xds.Sidecar && (strings.HasPrefix(name, "inbound|") || strings.HasPrefix(name, "InboundPassthroughCluster"))
}

func (w *walker) forward(node xds.Node, config *xds.Config, name string, v *view, hops int) {
	c, ok := config.Cluster(name)
	if !ok || inner(node, name) {
		return
	}
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		w.send(node, c, cluster.Endpoint{Address: w.side.Door.To}, v, hops)
		return
	}
	assignment, _ := config.Endpoints(name)
	for _, e := range w.ends(assignment) {
		w.send(node, c, e, v, hops)
	}
}

// ends are the different endpoints of an assignment: those of one workload have the
// same configuration.
func (w *walker) ends(assignment *endpointv3.ClusterLoadAssignment) []cluster.Endpoint {
	if known, ok := w.endpoints[assignment]; ok {
		return known
	}
	all := cluster.Endpoints(assignment)
	var out []cluster.Endpoint
	var seen []string
	for _, e := range all {
		alike := ""
		if len(all) > 1 {
			alike = fmt.Sprintf("%s %d ", e.Metadata.String(), e.Address.Port())
			for _, n := range w.side.Proxies.At(e.Address.Addr()) {
				alike += n.Namespace + "/" + n.ServiceAccount + "/" + labels(n) + n.Capture.String()
			}
		}
		if !slices.Contains(seen, alike) && len(seen) < maxEndpoints {
			seen, out = append(seen, alike), append(out, e)
		}
	}
	w.endpoints[assignment] = out
	return out
}

// maxEndpoints bounds how many different workloads behind one cluster are looked at.
const maxEndpoints = 16

func labels(n xds.Node) string {
	var parts []string
	for k, v := range n.Labels {
		if k != "pod-template-hash" {
			parts = append(parts, k+"="+v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// send is the connection that a proxy opens to an endpoint.
func (w *walker) send(node xds.Node, c *clusterv3.Cluster, e cluster.Endpoint, v *view, hops int) {
	if !e.Address.IsValid() {
		return
	}
	next := *v
	next.port, next.tls, next.tokens = uint32(e.Address.Port()), false, false
	next.taken = v.taken || v.tokens && !v.kept
	out := &stream.Connection{Local: e.Address}
	if len(node.Addresses) > 0 {
		next.address = node.Addresses[0]
		out.DirectRemote = netip.AddrPortFrom(node.Addresses[0], 0)
	}
	identity := ""
	if security := cluster.SecurityTo(c, e.Metadata); security.TLS != nil {
		next.tls, identity = true, node.Identity().SPIFFE()
		out.TLS = &stream.TLS{ServerName: security.TLS.GetSni(), Offered: slices.Clone(meshProtocols), Peer: &stream.Certificate{URIs: []string{identity}}}
		if !w.side.Door.HTTP {
			out.TLS.Offered = security.TLS.GetCommonTlsContext().GetAlpnProtocols()
		}
	}
	next.identity = &identity
	w.arrive(e.Address, out, &next, hops+1)
}

// meshProtocols are what Istio's proxies offer each other for HTTP/1.1
// (pilot/pkg/networking/util/util.go, ALPNInMeshWithMxc and the ALPN filter).
var meshProtocols = []string{"istio-http/1.1", "istio", "http/1.1"}
