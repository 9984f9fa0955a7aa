// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// judge makes a row of the connections to all endpoints.
func (p *pair) judge(subset string, ways *decide.Ways) Row {
	out := p.row(subset)
	out.Outside, out.Past = p.service.Outside, p.past
	if p.direct {
		out.Sends = []decide.Transport{decide.Plaintext}
	}
	if ways.Object != nil && ways.Object.Kind == "DestinationRule" {
		out.DestinationRule = ways.Object.Name + "/" + ways.Object.Namespace
	}
	if len(ways.Links) == 0 {
		out.Status, out.Why = Unknown, ways.Why
		if ways.Reply != nil {
			out.Code, out.Flags = ways.Reply.Code, ways.Reply.Flags
		}
		return out
	}
	var groups []Endpoint
	for i := range ways.Links {
		l := &ways.Links[i]
		e := p.endpoint(l)
		groups = join(groups, e)
		out.states[addressOf(l)] = e.Status
		out.Sends = with(out.Sends, e.Sends)
		for _, t := range e.Accepts {
			out.Accepts = with(out.Accepts, t)
		}
		if name := p.authentication(l); name != "" && !slices.Contains(out.PeerAuthentications, name) {
			out.PeerAuthentications = append(out.PeerAuthentications, name)
		}
	}
	slices.Sort(out.PeerAuthentications)
	out.settle(groups)
	return out
}

// settle says of a row what follows from its endpoints.
func (r *Row) settle(groups []Endpoint) {
	worst := groups[0]
	statuses := map[Status]bool{}
	for _, g := range groups {
		statuses[g.Status] = true
		if rank[g.Status] > rank[worst.Status] {
			worst = g
		}
	}
	r.Status = worst.Status
	if statuses[Conflict] && len(statuses) > 1 {
		r.Status = Partial
	}
	r.Why, r.Code, r.Flags = worst.Why, worst.Code, worst.Flags
	for _, g := range groups {
		if r.Status != Unknown {
			r.Unproven = cmp.Or(r.Unproven, g.Unproven)
		}
	}
	if len(groups) > 1 {
		r.Endpoints = groups
	}
}

// rank orders states: what is wrong is said before what is not known.
var rank = map[Status]int{OK: 0, Unknown: 1, Conflict: 2}

// endpoint is what becomes of one connection.
func (p *pair) endpoint(l *decide.Link) Endpoint {
	if out, ok := p.ambient(l); ok {
		return out
	}
	return p.followed(l)
}

// followed is the same where the proxies of both ends are Envoys, or not there.
func (p *pair) followed(l *decide.Link) Endpoint {
	out := Endpoint{Sends: l.Sends, Accepts: p.accepts(l), Addresses: []string{addressOf(l)}}
	if l.Server != nil {
		out.Workloads = []string{l.Server.Namespace + "/" + l.Server.Name}
	}
	switch v := &l.Verdict; v.Outcome {
	case decide.Allow:
		out.Status = OK
		if why := cmp.Or(p.beyond(l), p.unnamed(l)); why != "" {
			out.Status, out.Why = Unknown, why
		}
	case decide.Fails:
		out.Status, out.Why = Conflict, v.Why
		row := p.row("")
		if accepted := out.Accepts; len(accepted) > 0 && !slices.Contains(accepted, l.Sends) {
			out.Why = fmt.Sprintf("%s is sent, and only %s is taken: %s", row.words([]decide.Transport{l.Sends}), row.words(accepted), v.Why)
		}
		if l.Past != "" {
			out.Why += ": " + l.Address.String() + " is " + l.Past
		}
		if v.Reply != nil && p.client.Node != nil && p.past == "" {
			out.Code, out.Flags = v.Reply.Code, v.Reply.Flags
		}
		if l.Server != nil && len(l.Takes) == 0 {
			// Whatever was sent would be refused: that is not the transport's doing.
			out.Status = Unknown
		}
	default:
		out.Status, out.Why = Unknown, v.Why
	}
	if out.Status != Unknown && l.Cluster != "" {
		out.Why = strings.TrimSuffix("the client's proxy takes connections there for those of "+l.Cluster+"; "+out.Why, "; ")
	}
	return out
}

// beyond says why nothing is known of what is behind an endpoint without a proxy.
func (p *pair) beyond(l *decide.Link) string {
	switch {
	case l.Server != nil:
		return ""
	case p.service.External:
		return "it is a host of a ServiceEntry without a proxy that is known, and what it takes is not known"
	}
	return p.world.Directory.Unfollowed(l.Address.Addr())
}

// unnamed says why an application may not listen where a connection goes: the port is a
// headless Service's, and the Service says another one of its workloads.
func (p *pair) unnamed(l *decide.Link) string {
	at := l.Address.Port()
	if !p.service.Headless || at != p.port.Number || at == p.port.Target {
		return ""
	}
	return fmt.Sprintf("the Service is headless, so that nothing makes its target port %d of port %d, and whether the workloads listen there is not known", p.port.Target, at)
}

// accepts is what an endpoint takes: an application without a proxy takes plaintext.
func (p *pair) accepts(l *decide.Link) []decide.Transport {
	if l.Server == nil && p.beyond(l) == "" && l.Verdict.Outcome != decide.Unknown {
		return []decide.Transport{decide.Plaintext}
	}
	return l.Takes
}

// authentication is the policy that decided what an endpoint takes.
func (p *pair) authentication(l *decide.Link) string {
	workload, ok := p.judged(l)
	if !ok || p.policies == nil {
		return ""
	}
	trace := p.policies.PeerAuthentication(workload, l.Address.Port())
	if trace.Policy == nil {
		return ""
	}
	return trace.Policy.Name + "/" + trace.Policy.Namespace
}

// judged is the workload at an endpoint, if PeerAuthentications concern it.
func (p *pair) judged(l *decide.Link) (resolve.Workload, bool) {
	if l.Server == nil {
		pod := p.world.Directory.Ambient(l.Address.Addr())
		if pod == nil || !pod.Captured {
			return resolve.Workload{}, false
		}
		return resolve.Workload{Namespace: pod.Namespace, Labels: pod.Labels}, true
	}
	node, ok := p.world.Proxies.Node(*l.Server)
	return resolve.Workload{Namespace: node.Namespace, Labels: node.Labels}, ok && node.Type == xds.Sidecar
}

func addressOf(l *decide.Link) string {
	if l.Address.IsValid() {
		return l.Address.String()
	}
	return l.Host
}

// Breaks reports whether an endpoint that takes what it is sent in this row does not in
// another.
func (r *Row) Breaks(later *Row) bool {
	for address, status := range r.states {
		now, there := later.states[address]
		if status == OK && there && now != OK {
			return true
		}
	}
	return false
}

// with adds a transport in the order of the constants.
func with(all []decide.Transport, t decide.Transport) []decide.Transport {
	if t == "" || slices.Contains(all, t) {
		return all
	}
	all = append(all, t)
	slices.SortFunc(all, func(a, b decide.Transport) int { return strings.Compare(order(a), order(b)) })
	return all
}

// order puts mutual TLS first, as people read it.
func order(t decide.Transport) string {
	switch t {
	case decide.MutualTLS:
		return ""
	case decide.HBONE:
		return " "
	}
	return string(t)
}

// join adds an endpoint to those of its kind.
func join(groups []Endpoint, e Endpoint) []Endpoint {
	at := slices.IndexFunc(groups, func(g Endpoint) bool {
		return g.Status == e.Status && g.Sends == e.Sends && slices.Equal(g.Accepts, e.Accepts) && g.Why == e.Why && g.Unproven == e.Unproven && slices.Equal(g.Flags, e.Flags)
	})
	if at < 0 {
		return append(groups, e)
	}
	g := &groups[at]
	for _, w := range e.Workloads {
		if !slices.Contains(g.Workloads, w) {
			g.Workloads = append(g.Workloads, w)
		}
	}
	g.Addresses = append(g.Addresses, e.Addresses...)
	return groups
}

// Server is the column of what the endpoints accept, as "mTLS/HTTP".
func (r *Row) Server() string { return r.words(r.Accepts) }

// Sent is the column of what the client sends.
func (r *Row) Sent() string { return r.words(r.Sends) }

func (r *Row) words(transports []decide.Transport) string {
	if len(transports) == 0 {
		return "-"
	}
	var out []string
	for _, t := range transports {
		switch {
		case t == decide.MutualTLS:
			out = append(out, "mTLS")
		case t == decide.OtherTLS, t == decide.HBONE:
			out = append(out, string(t))
		case r.HTTP:
			out = append(out, "HTTP")
		default:
			out = append(out, "TCP")
		}
	}
	return strings.Join(out, "/")
}

// Address is the column HOST:PORT; a subset is in brackets.
func (r *Row) Address() string {
	out := fmt.Sprintf("%s:%d", r.Host, r.Port)
	if r.Subset != "" {
		out += " [" + r.Subset + "]"
	}
	return out
}
