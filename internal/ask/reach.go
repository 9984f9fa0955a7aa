// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/ask/wording"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Clients are what kind of clients a row is about.
type Clients string

const (
	// Workloads are those of the mesh that are named, with their certificates.
	Workloads Clients = "Workloads"
	// Nobody has a certificate that would do, and that no workload has today.
	Nobody Clients = "Nobody"
	// Plaintext is any client that reaches the address, without a certificate.
	Plaintext Clients = "Plaintext"
	// FromInternet are clients that come by a gateway.
	FromInternet Clients = "Internet"
)

// Reach is one kind of requests that pass from some clients to a workload.
type Reach struct {
	Clients Clients `json:"clients"`
	// From are the clients by namespace/account, or the gateway.
	From []string `json:"from,omitempty"`
	// Any: every workload may, also one that does not exist today.
	Any bool `json:"any,omitempty"`
	// To is the workload or host that is reached.
	To      string   `json:"to"`
	Port    uint16   `json:"port,omitempty"`
	Methods []string `json:"methods,omitempty"`
	Paths   []string `json:"paths,omitempty"`
	Needs   Needs    `json:"needs"`
	Token   []string `json:"token,omitempty"`
	Only    []string `json:"only,omitempty"`
	Why     string   `json:"why,omitempty"`
	Because []Origin `json:"because,omitempty"`
	Rules   []string `json:"rules,omitempty"`
	Witness Witness  `json:"witness"`
}

// Reached is the answer to who can reach a workload, and to what one can reach.
type Reached struct {
	Rows  []Reach  `json:"rows"`
	Notes []string `json:"notes,omitempty"`
}

// Target is a workload, or a part of what it serves.
type Target struct {
	Workload WorkloadRef
	// Port of the Service or the workload; 0 is all.
	Port uint16
	// Method and Path are of one kind of requests; empty is all. A path as it is
	// after normalisation.
	Method, Path string
}

// wants reports whether a class is among what is asked about.
func (t Target) wants(p *class.Point) bool {
	for _, one := range []struct {
		kind class.Kind
		text string
	}{{class.Method, t.Method}, {class.Path, t.Path}} {
		if v, ok := p.Value(class.Dimension{Kind: one.kind}); one.text != "" && ok && !v.Has(false, one.text) {
			return false
		}
	}
	return true
}

// Who finds all who can reach a target: from inside of the mesh, as the target's
// own proxy decides, and from the internet through gateways.
func (w *World) Who(t Target) (*Reached, error) {
	node, err := w.Workload(t.Workload)
	if err != nil {
		return nil, err
	}
	out := &Reached{Rows: []Reach{}}
	rows := newRows()
	found := t.Port == 0
	for _, d := range w.workloadDoors(node) {
		if t.Port != 0 && d.port != t.Port && d.To.Port() != t.Port {
			continue
		}
		found = true
		if captured, why := node.Inbound(d.To.Port()); captured != xds.Through {
			out.Notes = mergeText(out.Notes, []string{fmt.Sprintf("connections to port %d of %s do not all go through its proxy (%s), so no rule keeps anybody from it", d.To.Port(), t.Workload, why)})
			continue
		}
		e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Identities: w.identities(), Passing: true}
		var leaves []outsideLeaf
		_, notes := e.Explore(func(p *class.Point) {
			if r := d.Witness(p); t.wants(p) {
				leaves = append(leaves, outsideLeaf{d, p, r, w.decide(d, r)})
			}
		})
		for _, l := range least(leaves) {
			rows.add(w.insideRow(d, l.point, l.request, l.decided))
		}
		out.Notes = mergeText(out.Notes, notes)
	}
	if !found {
		return nil, fmt.Errorf("%s has no port %d", t.Workload, t.Port)
	}
	out.Notes = mergeText(out.Notes, w.throughGateways(t, node, rows))
	out.Rows = append(out.Rows, rows.list()...)
	return out, nil
}

// throughGateways adds what reaches the target from the internet, and says why
// something may be missing.
func (w *World) throughGateways(t Target, node xds.Node, rows *rows) (notes []string) {
	all, notes := w.fromInternet(func(h *outsideHost) bool { return w.leads(h, node) })
	var leaves []outsideLeaf
	for _, l := range all {
		reaches := l.decided.reached != nil && w.alike(*l.decided.reached, node)
		if (reaches || l.decided.outcome == decide.Unknown && w.mayEndAt(l.decided, node)) && t.wants(l.point) {
			leaves = append(leaves, l)
		}
	}
	for _, l := range least(leaves) {
		e := exposureOf(l)
		rows.add(Reach{
			Clients: FromInternet, From: []string{e.Scheme + "://" + e.Host}, To: e.Reaches, Methods: e.Methods, Paths: e.Paths, Needs: e.Needs,
			Token: e.Token, Only: e.Only, Why: e.Why, Because: e.Because, Rules: e.Rules, Witness: e.Witness,
		})
	}
	return notes
}

// mayEndAt reports whether a request of which it is not known what becomes of it may
// be one for a workload: it came as far, or no farther than a gateway.
func (w *World) mayEndAt(d *decided, node xds.Node) bool {
	at := slices.IndexFunc(w.Nodes, func(n xds.Node) bool { return n.String() == d.last })
	return at < 0 || w.Nodes[at].Type == xds.Router || w.alike(w.Nodes[at].Key(), node)
}

// alike reports whether a proxy is the same workload as another.
func (w *World) alike(key xds.Key, node xds.Node) bool {
	if key == node.Key() {
		return true
	}
	other, ok := w.Proxies.Node(key)
	return ok && other.Namespace == node.Namespace && other.ServiceAccount == node.ServiceAccount && len(other.Addresses) > 0 &&
		slices.ContainsFunc(w.Directory.Services(), func(s *directory.Service) bool {
			return slices.Contains(s.Endpoints, other.Addresses[0]) && slices.Contains(s.Endpoints, node.Addresses[0])
		})
}

// identities are the SPIFFE IDs of all workloads, each once.
func (w *World) identities() []string {
	var out []string
	for _, n := range w.Nodes {
		out = append(out, spiffe(n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func spiffe(n xds.Node) string { return n.Identity().SPIFFE() }

// members are the workloads of the mesh in a class, as namespace/account.
func (w *World) members(p *class.Point) (members []string, first xds.Node) {
	identity, named := p.Value(class.Dimension{Kind: class.Identity})
	address, placed := p.Value(class.Dimension{Kind: class.Address})
	for _, n := range w.Nodes {
		if named && !identity.Has(false, spiffe(n)) {
			continue
		}
		if placed && (len(n.Addresses) == 0 || !address.Has(false, n.Addresses[0].String())) {
			continue
		}
		if len(members) == 0 {
			first = n
		}
		members = mergeText(members, []string{n.Namespace + "/" + cmp.Or(n.ServiceAccount, n.Name)})
	}
	return members, first
}

// sender is who sends a request of a class at a workload's door, as a Witness has it, with
// the workloads that may; the request gets the identity of the first of them.
func (w *World) sender(d *door, p *class.Point, r *witness.Request) (from string, members []string) {
	if !d.Mutual {
		return "a client without certificate", nil
	}
	members, first := w.members(p)
	if len(members) == 0 {
		return "a client that does not exist today", nil
	}
	r.Identity = spiffe(first)
	return first.Namespace + "/" + first.Name, members
}

func (w *World) insideRow(d *door, p *class.Point, r witness.Request, verdict *decided) Reach {
	out := Reach{To: d.node.Namespace + "/" + d.node.Name, Port: d.To.Port(), Needs: Nothing, Because: verdict.because, Rules: verdict.objects(), Why: verdict.why}
	from, members := w.sender(d, p, &r)
	if out.Clients = Plaintext; d.Mutual {
		_, named := p.Value(class.Dimension{Kind: class.Identity})
		_, placed := p.Value(class.Dimension{Kind: class.Address})
		out.Any = !named && !placed
		if out.Clients, out.From = Workloads, members; len(members) == 0 {
			out.Clients, out.From = Nobody, []string{r.Identity}
		}
	}
	if d.HTTP {
		out.Methods, out.Paths = []string{wording.Of(p, class.Method)}, []string{wording.Of(p, class.Path)}
	}
	out.Needs, out.Token = needsOf(p, r, verdict)
	out.Only = onlyOf(p, d.Mutual)
	out.Witness = d.witness(from, r)
	return out
}

// needsOf is what of a token a class has.
func needsOf(p *class.Point, r witness.Request, verdict *decided) (Needs, []string) {
	needs := wording.Token(p)
	switch {
	case verdict.outcome == decide.Unknown:
		return Undecided, nil
	case r.Claims == nil:
		return Nothing, nil
	case len(needs) == 1:
		return Token, needs
	}
	return Claims, needs
}

// onlyOf are the other conditions of a class.
func onlyOf(p *class.Point, host bool) []string {
	var out []string
	p.Each(func(d class.Dimension, v class.Value) {
		switch {
		case v.Absent || !slices.Contains(v.Signs, true):
		case d.Kind == class.Header || d.Kind == class.Parameter || d.Kind == class.Address || d.Kind == class.Host && host:
			out = append(out, d.String()+" "+v.Text())
		}
	})
	return out
}

// Reaches finds all that a workload can reach through its own proxy: every port of
// every Service and ServiceEntry that it has a name for.
func (w *World) Reaches(ref WorkloadRef) (*Reached, error) {
	node, err := w.Workload(ref)
	if err != nil {
		return nil, err
	}
	key := node.Key()
	proxies := shared{w.servers(), w.Proxies, func(n xds.Node) bool { return n.Key() == key }}
	evaluator := decide.New(proxies)
	out, rows := &Reached{Rows: []Reach{}}, newRows()
	for _, s := range w.Directory.Services() {
		for _, port := range s.Ports {
			to, err := w.destination(node, s.Host, port.Number)
			if err != nil || !to.Addr().IsValid() {
				continue
			}
			d := w.clientDoor(node, s, port, to)
			d.Workload = &key
			within := class.Settled(class.Dimension{Kind: class.Host}, s.Host)
			e := &space.Explorer{Sides: []*space.Side{{Reader: w.reader(), Proxies: proxies, Door: &d.Door}}, Within: within}
			var leaves []outsideLeaf
			_, notes := e.Explore(func(p *class.Point) {
				r := d.Witness(p)
				leaves = append(leaves, outsideLeaf{d, p, r, w.compact(evaluator.Decide(d.Ask(r)))})
			})
			for _, l := range least(leaves) {
				rows.add(w.outgoingRow(d, node, l.point, l.request, l.decided))
			}
			out.Notes = mergeText(out.Notes, notes)
		}
	}
	out.Rows = append(out.Rows, rows.list()...)
	return out, nil
}

func (w *World) clientDoor(node xds.Node, s *directory.Service, port directory.Port, to netip.AddrPort) *door {
	d := &door{service: s, port: port.Number, node: node}
	d.To, d.At = to, w.At
	d.HTTP = port.Scheme() == "http"
	// Of these the client's proxy reads the name, and chooses by it.
	d.TLS = port.Scheme() == "https"
	return d
}

func (w *World) outgoingRow(d *door, node xds.Node, p *class.Point, r witness.Request, verdict *decided) Reach {
	out := Reach{
		Clients: Workloads, From: []string{node.Namespace + "/" + node.Name}, To: cmp.Or(verdict.named(), d.service.Host), Port: d.port,
		Because: verdict.because, Rules: verdict.objects(), Why: verdict.why,
	}
	if d.HTTP {
		out.Methods, out.Paths = []string{wording.Of(p, class.Method)}, []string{wording.Of(p, class.Path)}
	}
	out.Needs, out.Token = needsOf(p, r, verdict)
	out.Only = onlyOf(p, false)
	out.Witness = d.witness(out.From[0], r)
	return out
}
