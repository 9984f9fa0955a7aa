// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Evaluator answers questions about the proxies of one moment.
type Evaluator struct {
	proxies Proxies
	// servers are the proxies as those that connect to them meet them.
	servers Proxies

	mu       sync.Mutex
	compiled map[*xds.Config]*proxy
}

// New makes an Evaluator. It compiles the configuration of a proxy when it is
// first passed.
func New(proxies Proxies) *Evaluator { return Between(proxies, proxies) }

// Between makes an Evaluator to which servers may be known by less than clients: by what
// concerns connections to them.
func Between(clients, servers Proxies) *Evaluator {
	return &Evaluator{proxies: clients, servers: servers, compiled: map[*xds.Config]*proxy{}}
}

// maxHops bounds how many proxies a request may pass: configuration may send it
// in a circle.
const maxHops = 16

// usualSteps is how many steps there are where a request passes two proxies.
const usualSteps = 16

// walk is one request on its way.
type walk struct {
	*Evaluator
	q    *Question
	hops int
	// transport: only connections are looked at, and nothing of what they carry.
	transport bool
	// steps are those until here.
	steps []Step
}

// Decide follows one request to its end.
func (e *Evaluator) Decide(q *Question) Verdict {
	w := &walk{Evaluator: e, q: q, steps: make([]Step, 0, usualSteps)}
	connection := &stream.Connection{DirectRemote: q.From.Address, Local: q.To, TLS: q.TLS}
	if q.From.Workload == nil {
		return w.arrive(connection, payloadOf(q), "")
	}
	node, ok := e.proxies.Node(*q.From.Workload)
	if !ok {
		return w.unknown("", "there is no proxy %s/%s", q.From.Workload.Namespace, q.From.Workload.Name)
	}
	if !connection.DirectRemote.IsValid() && len(node.Addresses) > 0 {
		connection.DirectRemote = netip.AddrPortFrom(node.Addresses[0], 0)
	}
	p, why := w.proxy(w.proxies, node)
	if p == nil {
		return w.unknown(node.String(), "%s", why)
	}
	captured, why := node.Outbound(q.To)
	switch captured {
	case xds.Past:
		return w.arrive(connection, payloadOf(q), "")
	case xds.CaptureUnknown:
		return w.unknown(node.String(), "%s", why)
	case xds.Through:
	}
	l, ok := p.config.Outbound(q.To)
	if !ok {
		// Nothing is intercepted: the client talks to a listener that its proxy
		// binds, or past the proxy.
		if l, ok = p.config.ListenerAt(q.To); !ok || !xds.Binds(l) {
			w.add(Step{Proxy: node.String(), Stage: StageListener, Says: fmt.Sprintf(
				"its workload's connections are not redirected to it, and it binds no listener at %s: this one goes past it", q.To)})
			return w.arrive(connection, payloadOf(q), "")
		}
	} else {
		connection.Redirected = true
	}
	return w.pass(p, l, connection, payloadOf(q))
}

// Forget lets go of what was made of a configuration.
func (e *Evaluator) Forget(config *xds.Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.compiled, config)
}

// proxy compiles a node's configuration once.
func (e *Evaluator) proxy(of Proxies, node xds.Node) (*proxy, string) {
	config, err := of.Config(node)
	if err != nil {
		return nil, "its configuration is not known: " + err.Error()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.compiled[config]
	if !ok {
		p = newProxy(node, config)
		e.compiled[config] = p
	}
	return p, ""
}

// Understands reports whether it is known what every filter of one of a proxy's filter
// chains does: nothing of it alone makes a verdict Unknown.
func (e *Evaluator) Understands(node xds.Node, c *listenerv3.FilterChain) bool {
	p, _ := e.proxy(e.servers, node)
	if p == nil {
		return false
	}
	chain := p.chain(c)
	return chain.unknown == "" && (chain.http == nil || chain.http.unknown == "" &&
		!slices.ContainsFunc(chain.http.filters, func(f httpFilter) bool { return f.unknown != "" }))
}

// arrive is a connection at an address: of a workload with a proxy, or of
// anything else.
func (w *walk) arrive(c *stream.Connection, p payload, cluster string) Verdict {
	nodes, why := w.takers(c.Local)
	if len(nodes) == 0 {
		to := &Destination{Address: c.Local, Cluster: cluster}
		return w.reached(to, c.Local.String()+" is "+cmp.Or(why, "no workload with a proxy"))
	}
	return w.branch(len(nodes), func(own *walk, i int) Branch {
		return Branch{1 / float64(len(nodes)), own.enter(nodes[i], c, p)}
	})
}

// takers are the proxies that take connections to an address. None: why says which of
// a workload's own annotations has them go past its proxy; empty: there is no proxy.
func (e *Evaluator) takers(to netip.AddrPort) (nodes []xds.Node, why string) {
	for _, n := range e.proxies.At(to.Addr()) {
		if captured, annotation := n.Inbound(to.Port()); captured == xds.Past {
			why = fmt.Sprintf("a port of %s that is not led through its proxy (%s)", n, annotation)
		} else {
			nodes = append(nodes, n)
		}
	}
	return nodes, why
}

func (w *walk) enter(node xds.Node, c *stream.Connection, p payload) Verdict {
	if captured, why := node.Inbound(c.Local.Port()); captured == xds.CaptureUnknown {
		return w.unknown(node.String(), "%s", why)
	}
	proxy, why := w.proxy(w.servers, node)
	if proxy == nil {
		return w.unknown(node.String(), "%s", why)
	}
	l, ok := proxy.config.Inbound(c.Local)
	if !ok && node.Interception == xds.InterceptionNone {
		return w.unknown(node.String(), "its connections are not redirected (interceptionMode NONE), it does not listen on %s, and whether its application does is not known", c.Local)
	}
	if !ok {
		w.add(Step{Proxy: node.String(), Stage: StageListener, Says: fmt.Sprintf("nothing listens on %s", c.Local), Stops: true})
		return w.end(Verdict{Outcome: Fails, Why: fmt.Sprintf("%s does not listen on %s", node, c.Local)})
	}
	own := *c
	_, own.Redirected = proxy.config.Listener(xds.VirtualInbound)
	return w.pass(proxy, l, &own, p)
}

// fork is the same way with an end of its own: who adds a step to what is shared
// copies it.
func (w *walk) fork() *walk {
	out := *w
	out.steps = slices.Clip(w.steps)
	return &out
}

// branch joins n ways on, between which chance decides. A single one needs no fork.
func (w *walk) branch(n int, follow func(own *walk, i int) Branch) Verdict {
	if n == 1 {
		return follow(w, 0).Verdict
	}
	branches := make([]Branch, n)
	for i := range branches {
		branches[i] = follow(w.fork(), i)
	}
	return join(branches)
}

func (w *walk) add(s Step) { w.steps = append(w.steps, s) }

// end is the verdict of this way.
func (w *walk) end(v Verdict) Verdict {
	v.Steps = w.steps
	return v
}

func (w *walk) unknown(proxy, format string, arguments ...any) Verdict {
	why := fmt.Sprintf(format, arguments...)
	if proxy != "" {
		why = proxy + ": " + why
	}
	return w.end(Verdict{Outcome: Unknown, Why: why})
}

func (w *walk) reached(to *Destination, says string) Verdict {
	w.add(Step{Stage: StageApplication, Rule: to.Cluster, Says: says})
	return w.end(Verdict{Outcome: Allow, Reached: to})
}

// fails is for a connection that comes to nothing.
func (w *walk) fails(reply *stream.Reply, why string) Verdict {
	return w.end(Verdict{Outcome: Fails, Reply: reply, Why: why})
}
