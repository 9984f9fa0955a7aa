// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// payload is what is sent over a connection: a request, or bytes.
type payload struct {
	request *hcm.Request
	tokens  map[string]*stream.Token
	// inner is TLS that is inside of what proxies have settled between them: to
	// them it is bytes.
	inner *stream.TLS
}

func payloadOf(q *Question) payload { return payload{request: q.Request, tokens: q.Tokens} }

// version is what the HTTP inspector makes of the first bytes.
func (p payload) version() string {
	if p.request == nil || p.inner != nil {
		return ""
	}
	switch p.request.Version {
	case hcm.HTTP10:
		return "http/1.0"
	case hcm.HTTP2:
		return "h2c"
	case hcm.HTTP11:
	}
	return "http/1.1"
}

// filterChain is a filter chain, compiled: RBAC filters in front, and one filter
// that ends it.
type filterChain struct {
	name   string
	socket listener.Socket
	rbac   []*rbac.Filter
	http   *connectionManager
	tcp    *tcpv3.TcpProxy
	// unknown says what of it cannot be decided.
	unknown string
}

// passive are the network filters of Istio's proxies that let every connection
// through as it is: they note who the peer is, and count.
var passive = []string{
	".metadataexchange.v1alpha1.", ".metadata_exchange.", "io.istio.", "envoy.tcp.metadataexchange.", "stats.PluginConfig",
	"envoy.tcp.sni.", ".sni_cluster.", ".mongo_proxy.", ".connection_limit.", "envoy.extensions.filters.network.set_filter_state.",
}

func (p *proxy) compileChain(proto *listenerv3.FilterChain) *filterChain {
	out := &filterChain{name: proto.GetName(), socket: listener.ReadSocket(proto)}
	for _, f := range proto.GetFilters() {
		config := f.GetTypedConfig()
		kind := config.GetTypeUrl()
		var err error
		switch {
		case config.MessageIs((*hcmv3.HttpConnectionManager)(nil)):
			var m *hcmv3.HttpConnectionManager
			if m, err = xds.Manager(config); err == nil {
				out.http = p.compileManager(m)
			}
		case config.MessageIs((*tcpv3.TcpProxy)(nil)):
			out.tcp = &tcpv3.TcpProxy{}
			err = config.UnmarshalTo(out.tcp)
		case config.MessageIs((*networkrbacv3.RBAC)(nil)):
			m := &networkrbacv3.RBAC{}
			var filter *rbac.Filter
			if err = config.UnmarshalTo(m); err == nil {
				if filter, err = rbac.NewNetwork(m); err == nil {
					out.rbac = append(out.rbac, filter)
				}
			}
		case containsAny(effectiveType(config), passive):
		default:
			err = fmt.Errorf("its type %s is not one that is known here", kind)
		}
		if err != nil && out.unknown == "" {
			out.unknown = fmt.Sprintf("network filter %s: %v", f.GetName(), err)
		}
		if out.http != nil || out.tcp != nil {
			return out
		}
	}
	if out.unknown == "" {
		out.unknown = "filter chain " + out.name + " has no filter that ends it"
	}
	return out
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// pass is a connection at one listener of a proxy.
func (w *walk) pass(p *proxy, l *listenerv3.Listener, c *stream.Connection, load payload) Verdict {
	w.hops++
	if w.hops > maxHops {
		return w.unknown(p.name, "the request has passed %d listeners and is likely to go in a circle", maxHops)
	}
	choice := p.listener(l).Choose(c, load.version())
	w.add(Step{Proxy: p.name, Stage: StageListener, Rule: l.GetName(), Object: p.object(l.GetMetadata()), Says: "takes connections to " + c.Local.String()})
	if choice.Unknown != "" {
		return w.unknown(p.name, "%s", choice.Unknown)
	}
	if choice.Chain == nil {
		why := fmt.Sprintf("listener %s has no filter chain for %s", l.GetName(), described(c, choice))
		w.add(Step{Proxy: p.name, Stage: StageFilterChain, Says: why, Stops: true})
		return w.fails(&stream.Reply{Details: "filter_chain_not_found", Flags: []string{"NR"}}, why)
	}
	w.add(Step{Proxy: p.name, Stage: StageFilterChain, Rule: choice.Chain.GetName(), Object: p.object(choice.Chain.GetMetadata()), Says: "takes " + described(c, choice)})
	chain := p.chain(choice.Chain)
	session := chain.socket.Terminate(c)
	switch {
	case session.Unknown != "":
		return w.unknown(p.name, "%s", session.Unknown)
	case session.Failure != "":
		w.add(Step{Proxy: p.name, Stage: StageTLS, Rule: choice.Chain.GetName(), Says: session.Failure, Stops: true})
		return w.fails(&stream.Reply{Flags: []string{handshakeFailed}}, session.Failure)
	case session.TLS:
		w.add(Step{Proxy: p.name, Stage: StageTLS, Says: secured(session)})
	}
	if !session.TLS && c.TLS != nil {
		load.inner = c.TLS
		if choice.Transport == listener.TLS {
			session.Connection.Overheard = strings.ToLower(c.TLS.ServerName)
		}
	}
	return w.network(p, chain, session, load)
}

func described(c *stream.Connection, choice listener.Choice) string {
	what, name, offering := "plaintext", "", ""
	if choice.Transport == listener.TLS {
		what = "TLS"
		if c.TLS != nil && c.TLS.ServerName != "" {
			what, name = "TLS for ", c.TLS.ServerName
		}
	}
	if len(choice.Protocols) > 0 {
		offering = " offering " + strings.Join(choice.Protocols, ", ")
	}
	return what + name + offering + " to port " + strconv.Itoa(int(c.Local.Port()))
}

func secured(s listener.Session) string {
	if peer := s.Connection.TLS.Peer; peer != nil && len(peer.URIs) > 0 {
		return "mutual TLS with " + peer.URIs[0]
	}
	return "TLS without a client certificate"
}

// network runs the network filters of a chain.
func (w *walk) network(p *proxy, chain *filterChain, session listener.Session, load payload) Verdict {
	if chain.unknown != "" {
		return w.unknown(p.name, "%s", chain.unknown)
	}
	if refused := w.judge(p, chain, session.Connection); refused != nil {
		return *refused
	}
	if chain.tcp != nil {
		return w.tunnel(p, chain.tcp, session.Connection, load)
	}
	if load.request == nil || load.inner != nil {
		why := "the filter chain speaks HTTP, and what came is none"
		if load.inner != nil {
			why = "the filter chain speaks plaintext HTTP, and a TLS handshake came"
		}
		w.add(Step{Proxy: p.name, Stage: StageHTTP, Says: why, Stops: true})
		if session.Protocol == "h2" {
			// HTTP/2 has no answer to what is none.
			return w.fails(&stream.Reply{Flags: []string{"DPE"}}, why)
		}
		return w.fails(&stream.Reply{Code: 400, Details: codecError, Flags: []string{"DPE"}}, why)
	}
	if w.transport {
		key := p.node.Key()
		return w.reached(&Destination{Workload: &key, Address: session.Connection.Local}, "is taken by "+p.name)
	}
	return w.http(p, chain.http, session, load)
}

// judge has the network RBAC filters judge a connection; nil lets it go on.
func (w *walk) judge(p *proxy, chain *filterChain, c *stream.Connection) *Verdict {
	if w.transport || len(chain.rbac) == 0 {
		return nil
	}
	s := &stream.Stream{Connection: c}
	for _, filter := range chain.rbac {
		verdict := filter.Decide(s)
		switch verdict.Outcome() {
		case rbac.Unknown:
			out := w.unknown(p.name, "%s", verdict.Why())
			return &out
		case rbac.Denied:
			w.add(policyStep(p, verdict, "refuses the connection"))
			out := w.end(Verdict{Outcome: Deny, Reply: &stream.Reply{Details: verdict.Details(), Flags: []string{"-"}}})
			return &out
		case rbac.Allowed:
			w.notice(p, verdict)
		}
	}
	return nil
}

// handshakeFailed is the flag of a connection that ended before the server's filters saw
// it.
const handshakeFailed = "DC"

// codecError is what Envoy makes of bytes that are no HTTP.
const codecError = "http1.codec_error"

// tunnel is a TCP proxy: what it carries stays as it is, also a request.
func (w *walk) tunnel(p *proxy, t *tcpv3.TcpProxy, c *stream.Connection, load payload) Verdict {
	type target struct {
		cluster string
		weight  uint32
	}
	var targets []target
	switch specifier := t.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		targets = []target{{specifier.Cluster, 1}}
	case *tcpv3.TcpProxy_WeightedClusters:
		for _, one := range specifier.WeightedClusters.GetClusters() {
			targets = append(targets, target{one.GetName(), one.GetWeight()})
		}
	}
	if t.GetTunnelingConfig() != nil {
		return w.unknown(p.name, "it tunnels TCP through HTTP")
	}
	total := 0.0
	for _, one := range targets {
		total += float64(one.weight)
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return t.weight == 0 })
	return w.branch(len(targets), func(own *walk, i int) Branch {
		verdict := own.forward(p, targets[i].cluster, forwarding{connection: c, load: load, bytes: true})
		return Branch{float64(targets[i].weight) / total, verdict}
	})
}

func policyStep(p *proxy, v rbac.Verdict, says string) Step {
	rule := v.Enforced.Policy
	if rule == "" {
		says += ": no rule that allows matches"
	}
	return Step{Proxy: p.name, Stage: StageFilter, Rule: rule, Object: PolicyOf(rule), Says: says, Stops: v.Outcome() == rbac.Denied}
}

// notice notes which rule allowed something, and what shadow rules would have
// done.
func (w *walk) notice(p *proxy, v rbac.Verdict) {
	if v.Enforced.There && v.Enforced.Policy != "" {
		w.add(policyStep(p, v, "allows it"))
	}
	if v.Shadow.There && v.Shadow.Outcome == rbac.Denied {
		w.add(Step{
			Proxy: p.name, Stage: StageFilter, Rule: v.Shadow.Policy, Object: PolicyOf(v.Shadow.Policy),
			Says: "would refuse it; the rule is in dry run",
		})
	}
}
