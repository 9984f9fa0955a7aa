// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Mesh is where clients and services are looked up, and the check that is asked.
type Mesh struct {
	World   *ask.World
	Checker *mtls.Checker
	// From is who sent what a line does not say it of; nil: nobody knows.
	From *ask.WorkloadRef
	// Whole: all workloads are known with their addresses, so that an address that is not
	// known has no proxy of the mesh.
	Whole bool
}

// parties are the two ends of a failure.
type parties struct {
	client, service, subset string
	// sender and target are there where the mesh knows them.
	sender *mtls.Client
	target *mtls.Target
	// row is what the check says of them, and group which of its kinds of endpoints was
	// sent to, where they differ.
	row   *mtls.Row
	group string
	// endpoints are those that were sent to, up to someEndpoints.
	endpoints []netip.AddrPort
	// ways are those of the client's lines, two at most.
	ways []way
	// sidecar: the proxy of a workload wrote the server's line, and no gateway.
	sidecar bool
}

const someEndpoints = 32

func (p *parties) meet(other parties) {
	for _, w := range other.ways {
		if len(p.ways) < 2 && !slices.Contains(p.ways, w) {
			p.ways = append(p.ways, w)
		}
	}
	for _, e := range other.endpoints {
		if len(p.endpoints) < someEndpoints && !slices.Contains(p.endpoints, e) {
			p.endpoints = append(p.endpoints, e)
		}
	}
}

// finder finds the parties of events. Its mesh may be nil.
type finder struct {
	mesh    *Mesh
	senders map[origin]*mtls.Client
	// services are those of the mesh that have an endpoint at an address.
	services map[netip.Addr][]*directory.Service
	rows     map[pair]*mtls.Row
}

func newFinder(m *Mesh) *finder {
	f := &finder{mesh: m, senders: map[origin]*mtls.Client{}, services: map[netip.Addr][]*directory.Service{}, rows: map[pair]*mtls.Row{}}
	if m == nil {
		return f
	}
	for _, s := range m.World.Directory.Services() {
		for _, address := range s.Endpoints {
			f.services[address] = append(f.services[address], s)
		}
	}
	return f
}

// origin is what lines say of who sent.
type origin struct {
	writer  accesslog.Writer
	peer    string
	own     [2]netip.Addr
	gateway netip.Addr
}

// gateway reports whether a gateway wrote a line that got no further than there.
func (f *finder) gateway(e *accesslog.Entry) bool { return !e.Inbound() && f.proxy(e, xds.Router) }

// proxy reports whether a proxy of a type has the address that a line was received at.
func (f *finder) proxy(e *accesslog.Entry, t xds.NodeType) bool {
	if f.mesh == nil || !e.Local.IsValid() {
		return false
	}
	return slices.ContainsFunc(f.mesh.World.Proxies.At(e.Local.Addr()), func(n xds.Node) bool { return n.Type == t })
}

func (f *finder) parties(e *event) parties {
	out := parties{}
	if e.client != nil {
		if w, ok := wayOf(e.client); ok {
			out.ways = []way{w}
		}
	}
	out.sidecar = e.client == nil && f.proxy(e.server.Entry, xds.Sidecar)
	f.service(e, &out)
	f.sender(e, &out)
	f.compare(&out)
	return out
}

// pair are a client and a port of a service, or a subset of it.
type pair struct {
	client, service, subset string
	address                 netip.Addr
}

// compare asks the check about the parties, once for each pair.
func (f *finder) compare(p *parties) {
	if f.mesh == nil || p.sender == nil || p.target == nil {
		return
	}
	key := pair{p.client, p.service, p.subset, p.sender.Address}
	row, known := f.rows[key]
	if !known {
		rows := f.mesh.Checker.Check(*p.sender, *p.target)
		at := slices.IndexFunc(rows, func(r mtls.Row) bool { return r.Subset == p.subset })
		// A proxy that knows no subsets has nothing to tell them apart by.
		if at < 0 && len(rows) == 1 {
			at = 0
		}
		if at >= 0 {
			row = &rows[at]
		}
		f.rows[key] = row
	}
	p.row = row
	if row != nil && len(p.endpoints) > 0 {
		if at := endpointOf(row, p.endpoints[0]); at >= 0 {
			p.group = strconv.Itoa(at)
		}
	}
}

// sent is a cluster of Istio's for a service, or the server name of the mesh, which is
// made in the same way with other signs (pilot/pkg/model/push_context.go, BuildDNSSrvSubsetKey).
type sent struct {
	host, subset string
	port         uint16
}

func parseSent(e *accesslog.Entry) (sent, bool) {
	if port, subset, host, ok := xds.ParseOutbound(e.Cluster); ok {
		return sent{host, subset, port}, port > 0 && host != ""
	}
	parts := strings.SplitN(e.ServerName, "_.", 4)
	if len(parts) != 4 || parts[0] != "outbound" {
		return sent{}, false
	}
	port, err := strconv.ParseUint(strings.Trim(parts[1], "_."), 10, 16)
	return sent{host: parts[3], subset: strings.Trim(parts[2], "_."), port: uint16(port)}, err == nil && port > 0 && parts[3] != ""
}

// service finds what was asked for: by the cluster or the server name, by the address,
// and last by the name that the client gave.
func (f *finder) service(e *event, out *parties) {
	for _, l := range []*line{e.client, e.server} {
		if l == nil {
			continue
		}
		if l == e.client && l.Upstream.IsValid() {
			out.endpoints = []netip.AddrPort{l.Upstream}
		}
		if to, ok := parseSent(l.Entry); ok && out.service == "" {
			out.service, out.subset = fmt.Sprintf("%s:%d", to.host, to.port), to.subset
			out.target = f.target(to.host, to.port)
		}
	}
	if e.server != nil && e.server.Local.IsValid() && len(out.endpoints) == 0 {
		out.endpoints = []netip.AddrPort{e.server.Local}
	}
	if out.service != "" {
		return
	}
	f.addressee(e, out)
}

// addressee finds what a line is about that does not name it.
func (f *finder) addressee(e *event, out *parties) {
	l := e.of()
	asked := l.Local
	if l == e.client && l.Upstream.IsValid() {
		asked = l.Upstream
	}
	out.target = f.at(asked, l.Authority)
	if out.target == nil && l == e.server {
		out.target = f.beside(l)
	}
	if out.target != nil {
		out.service = fmt.Sprintf("%s:%d", out.target.Service.Host, out.target.Port)
		return
	}
	// What stands before the host is a user and a password.
	out.service = l.Authority[strings.LastIndexByte(l.Authority, '@')+1:]
	if out.service == "" && asked.IsValid() {
		out.service = asked.String()
	}
}

func (f *finder) target(host string, port uint16) *mtls.Target {
	if f.mesh == nil {
		return nil
	}
	out, err := f.mesh.Checker.Target(host, port)
	if err != nil {
		return nil
	}
	return &out
}

// at finds the service of an address: a virtual one, or that of an endpoint. Of several
// with one endpoint it is the one that the client named.
func (f *finder) at(to netip.AddrPort, authority string) *mtls.Target {
	if f.mesh == nil || !to.IsValid() {
		return nil
	}
	if s := f.mesh.World.Directory.Virtual(to.Addr()); s != nil {
		return f.target(s.Host, to.Port())
	}
	host, _, _ := strings.Cut(authority, ":")
	var first *mtls.Target
	for _, s := range f.services[to.Addr()] {
		at := slices.IndexFunc(s.Ports, func(p directory.Port) bool { return s.TargetAt(p, to.Addr()) == to.Port() })
		if at < 0 {
			continue
		}
		found := &mtls.Target{Service: s, Port: s.Ports[at].Number}
		if f.mesh.World.Directory.Find(host, s.Name.Namespace) == s {
			return found
		}
		first = cmp.Or(first, found)
	}
	return first
}

// beside finds the service of a server's proxy by who wrote the line, for files, in which
// pods have no addresses yet.
func (f *finder) beside(server *line) *mtls.Target {
	if f.mesh == nil {
		return nil
	}
	n := f.written(server.Writer)
	if n == nil || len(n.Addresses) == 0 {
		return nil
	}
	return f.at(netip.AddrPortFrom(n.Addresses[0], server.Local.Port()), server.Authority)
}

// sender finds who sent: by who wrote the client's line, by the identity that the
// server's proxy saw, and by addresses.
func (f *finder) sender(e *event, out *parties) {
	o := origin{}
	switch c := e.client; {
	case c == nil:
	case c.Cluster == "" && f.gateway(c.Entry):
		// It got no further than the gateway, whose clients are nobody of the mesh.
		out.client = origin{own: [2]netip.Addr{c.Remote.Addr()}}.String()
		return
	default:
		o.writer, o.own[0] = c.Writer, c.UpstreamLocal.Addr()
		// Who asks a gateway is not who sends on.
		if !f.gateway(c.Entry) && (strings.HasPrefix(c.Cluster, "outbound|") || c.Cluster == "PassthroughCluster") {
			o.own[1] = c.Remote.Addr()
		}
		o.gateway = c.Local.Addr()
	}
	if s := e.server; s != nil {
		o.peer = s.Peer
		// Without a port it is the address of a header (Envoy's X-Forwarded-For).
		if s.Remote.Port() != 0 && !o.own[0].IsValid() {
			o.own[0] = s.Remote.Addr()
		}
	}
	out.client = o.String()
	if f.mesh == nil {
		return
	}
	found, known := f.senders[o]
	if !known {
		found = f.find(o)
		f.senders[o] = found
	}
	if found != nil {
		out.sender, out.client = found, found.String()
	}
	if found != nil && found.Ref.Namespace == "" {
		out.client = found.Ref.Name
	}
}

// String is what the lines themselves call it.
func (o origin) String() string {
	switch {
	case o.writer.Pod != "":
		return strings.TrimPrefix(o.writer.Namespace+"/"+workload(o.writer.Pod), "/")
	case o.peer != "":
		if _, account, ok := strings.Cut(o.peer, "/ns/"); ok {
			return strings.Replace(account, "/sa/", "/", 1)
		}
		return o.peer
	}
	for _, address := range o.own {
		if address.IsValid() {
			return address.String()
		}
	}
	return ""
}

// hashes are what ReplicaSets add to names (k8s.io/apimachinery/pkg/util/rand,
// SafeEncodeString: no vowels, and neither 0, 1 nor 3).
var hashes = regexp.MustCompile(`-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$`)

// workload is the name of a pod without what differs between pods of a Deployment.
func workload(pod string) string { return hashes.ReplaceAllString(pod, "") }

func (f *finder) find(o origin) *mtls.Client {
	if n := f.written(o.writer); n != nil {
		return f.client(n)
	}
	if i := slices.IndexFunc(f.mesh.World.Nodes, func(n xds.Node) bool { return o.peer != "" && n.Identity().SPIFFE() == o.peer }); i >= 0 {
		return f.client(&f.mesh.World.Nodes[i])
	}
	if found := f.addressed(o.own[0]); found != nil {
		return found
	}
	if nodes := f.mesh.World.Proxies.At(o.gateway); len(nodes) > 0 && nodes[0].Type == xds.Router {
		return f.client(&nodes[0])
	}
	if found := f.addressed(o.own[1]); found != nil {
		return found
	}
	if f.mesh.From != nil {
		if found, err := f.mesh.Checker.Client(*f.mesh.From); err == nil {
			return &found
		}
	}
	if f.mesh.Whole && o.own[0].IsValid() && o.peer == "" && o.writer.Pod == "" {
		return &mtls.Client{Ref: ask.WorkloadRef{Name: o.own[0].String()}, Address: o.own[0]}
	}
	return nil
}

// written finds the proxy that wrote a line. Files have a Deployment in place of its
// pods.
func (f *finder) written(w accesslog.Writer) *xds.Node {
	var out *xds.Node
	for i := range f.mesh.World.Nodes {
		n := &f.mesh.World.Nodes[i]
		if w.Pod == "" || w.Namespace != "" && n.Namespace != w.Namespace {
			continue
		}
		switch n.Name {
		case w.Pod:
			return n
		case workload(w.Pod):
			out = n
		}
	}
	return out
}

// client names a proxy as trellis mtls does.
func (f *finder) client(n *xds.Node) *mtls.Client {
	found := f.mesh.Checker.Named(*n)
	return &found
}

// addressed finds the workload of an address, with a proxy or without.
func (f *finder) addressed(address netip.Addr) *mtls.Client {
	if !address.IsValid() {
		return nil
	}
	if nodes := f.mesh.World.Proxies.At(address); len(nodes) > 0 {
		return f.client(&nodes[0])
	}
	for _, s := range f.services[address] {
		if !s.External {
			return &mtls.Client{Ref: ask.WorkloadRef{Namespace: s.Name.Namespace, Name: s.Name.Name}, Address: address}
		}
	}
	return nil
}
