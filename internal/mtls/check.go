// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Status is whether a client and a service get on.
type Status string

// The states of a pair.
const (
	// OK: every endpoint takes what the client sends it.
	OK Status = "OK"
	// Conflict: no endpoint does.
	Conflict Status = "CONFLICT"
	// Partial: some endpoints do and others do not.
	Partial Status = "PARTIAL"
	// Unknown: it depends on something that is not known; Why says on what.
	Unknown Status = "UNKNOWN"
)

// Fails reports whether requests fail, at some endpoints at least.
func (s Status) Fails() bool { return s == Conflict || s == Partial }

// Row is one client and one port of a service, or one subset of it.
type Row struct {
	// Client is the workload that sends.
	Client string `json:"client"`
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
	// Subset is the one of a DestinationRule; empty: requests that name none.
	Subset string `json:"subset,omitempty"`
	Status Status `json:"status"`
	// Accepts is what the endpoints take: Plaintext, MutualTLS or both; of endpoints that
	// differ all. Empty: it is not known, or nothing.
	Accepts []decide.Transport `json:"accepts"`
	// Sends is what the client's proxy sends: of endpoints that it treats differently all.
	Sends []decide.Transport `json:"sends"`
	// PeerAuthentications decided what the endpoints take, as NAME/NAMESPACE. None: Istio's
	// default does, which takes both.
	PeerAuthentications []string `json:"peerAuthentications,omitempty"`
	// DestinationRule shapes the client's connections, as NAME/NAMESPACE.
	DestinationRule string `json:"destinationRule,omitempty"`
	// Why says what is wrong, or not known.
	Why string `json:"why,omitempty"`
	// Unproven says why Status is computed and not proven: no test has held it to what real
	// proxies do. Empty: tests do.
	Unproven string `json:"unproven,omitempty"`
	// Code and Flags are what the client gets and what its proxy logs where it fails.
	Code  int      `json:"code,omitempty"`
	Flags []string `json:"flags,omitempty"`
	// Endpoints are there where they differ: one for each kind.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// HTTP is false for ports with another protocol.
	HTTP bool `json:"http"`
	// Past says why the connections go past the client's proxy; empty: they do not.
	Past string `json:"past,omitempty"`
	// Outside: the host is one of a ServiceEntry, and outside of the mesh.
	Outside bool `json:"outside,omitempty"`

	// states are those of all endpoints, by address.
	states map[string]Status
}

// Endpoint is what becomes of connections to some of the endpoints.
type Endpoint struct {
	// Workloads are their names, and Addresses where they are.
	Workloads []string           `json:"workloads,omitempty"`
	Addresses []string           `json:"addresses"`
	Status    Status             `json:"status"`
	Accepts   []decide.Transport `json:"accepts"`
	Sends     decide.Transport   `json:"sends,omitempty"`
	Why       string             `json:"why,omitempty"`
	// Unproven as in Row.
	Unproven string   `json:"unproven,omitempty"`
	Code     int      `json:"code,omitempty"`
	Flags    []string `json:"flags,omitempty"`
}

// Checker answers for one moment of a mesh. It is safe for concurrent use.
type Checker struct {
	world     *ask.World
	evaluator *decide.Evaluator
	policies  *resolve.Resolver
	// serviceAt is the first Service of each endpoint.
	serviceAt map[netip.Addr]*directory.Service
}

// New makes a Checker. Policies may be nil: which PeerAuthentications decided is not said
// then.
func New(w *ask.World, policies *resolve.Resolver) *Checker {
	servers := w.Proxies
	if w.Servers != nil {
		servers = w.Servers
	}
	c := &Checker{world: w, evaluator: decide.Between(w.Proxies, servers), policies: policies, serviceAt: map[netip.Addr]*directory.Service{}}
	for _, s := range w.Directory.Services() {
		if s.External {
			continue
		}
		for _, address := range s.Endpoints {
			if c.serviceAt[address] == nil {
				c.serviceAt[address] = s
			}
		}
	}
	return c
}

// Check compares what a client sends a target with what its endpoints take. There is a
// row for each port, and for each subset that the client's proxy knows.
func (c *Checker) Check(client Client, target Target) []Row {
	var out []Row
	for _, port := range target.Service.Ports {
		if target.Port != 0 && port.Number != target.Port {
			continue
		}
		pair := &pair{Checker: c, client: client, service: target.Service, port: port}
		out = append(out, pair.rows()...)
	}
	return out
}

// pair is a client and a port of a service.
type pair struct {
	*Checker
	client  Client
	service *directory.Service
	port    directory.Port
	// direct: the application sends itself; past as in Row.
	direct bool
	past   string
}

func (p *pair) row(subset string) Row {
	return Row{
		Client: p.client.String(), Host: p.service.Host, Port: p.port.Number, Subset: subset, HTTP: speaksHTTP(p.port.Protocol),
		Accepts: []decide.Transport{}, Sends: []decide.Transport{}, states: map[string]Status{},
	}
}

func (p *pair) unknown(subset, why string, arguments ...any) Row {
	out := p.row(subset)
	out.Status, out.Why = Unknown, fmt.Sprintf(why, arguments...)
	return out
}

func (p *pair) rows() []Row {
	if p.client.Node == nil {
		return []Row{p.withoutProxy()}
	}
	switch captured, why := p.captured(); captured {
	case xds.Past:
		p.past = why
		return []Row{p.withoutProxy()}
	case xds.CaptureUnknown:
		return []Row{p.unknown("", "whether the connections go through the proxy of %s is not known: %s", p.client.Node, why)}
	case xds.Through:
	}
	config, err := p.world.Proxies.Config(*p.client.Node)
	if err != nil {
		return []Row{p.unknown("", "the configuration of %s is not known: %v", p.client.Node, err)}
	}
	subsets := config.Subsets(p.service.Host, p.port.Number)
	if len(subsets) == 0 {
		return []Row{p.unknown("", "the proxy of %s does not know the service: it is not exported to it, or a Sidecar leaves it out", p.client)}
	}
	if p.client.Node.Type == xds.Sidecar && !config.Routed(p.service.Host, p.port.Number) {
		if lower := strings.ToLower(p.service.Host); lower != p.service.Host && config.Routed(lower, p.port.Number) {
			return []Row{p.unknown("", "Istio leads requests for the host to %s, and has no cluster of that name: the host is to be written in lower case", xds.OutboundCluster(p.port.Number, "", lower))}
		}
		return []Row{p.unknown("", "the proxy of %s knows the service, but leads nothing to it that the workload sends there: by a Sidecar or a VirtualService", p.client)}
	}
	out := make([]Row, 0, len(subsets))
	for _, subset := range subsets {
		ways, err := p.evaluator.Ways(*p.client.Node, xds.OutboundCluster(p.port.Number, subset, p.service.Host), p.conversation())
		if err != nil {
			out = append(out, p.unknown(subset, "%v", err))
			continue
		}
		out = append(out, p.judge(subset, ways))
	}
	return out
}

// captured is whether the connections of the client's workload go through its proxy.
// Where that is different for addresses of the service it is not known: nobody knows
// which of them the workload means.
func (p *pair) captured() (captured xds.Captured, why string) {
	var meant []netip.AddrPort
	for _, address := range p.service.Addresses {
		meant = append(meant, netip.AddrPortFrom(address, p.port.Number))
	}
	if len(meant) == 0 {
		meant = p.originals()
	}
	if len(meant) == 0 {
		// Found by DNS.
		meant = append(meant, netip.AddrPortFrom(netip.Addr{}, p.port.Number))
	}
	for i, to := range meant {
		now, reason := p.client.Node.Outbound(to)
		if i > 0 && now != captured {
			return xds.CaptureUnknown, "some of the addresses of the service go past it (" + cmp.Or(why, reason) + ")"
		}
		captured, why = now, reason
	}
	return captured, why
}

// withoutProxy is a client that sends plaintext to any endpoint, since no proxy of its own
// sends.
func (p *pair) withoutProxy() Row {
	p.direct = !p.ambientClient()
	if why := p.world.Directory.Unfollowed(p.client.Address); why != "" && !p.ambientClient() {
		return p.unknown("", "what the client's ztunnel sends is not followed: %s", why)
	}
	ways := &decide.Ways{Why: "it has no endpoint that is known"}
	for _, to := range p.originals() {
		ways.Links = append(ways.Links, p.evaluator.Direct(netip.AddrPortFrom(p.client.Address, 0), to, p.conversation()))
	}
	return p.judge("", ways)
}

func (p *pair) conversation() decide.Conversation {
	protocol := strings.ToLower(p.port.Protocol)
	out := decide.Conversation{HTTP: speaksHTTP(protocol), TLS: OwnTLS(protocol), Version: hcm.HTTP11, Originals: p.originals(), Headless: p.service.Headless}
	if protocol == "grpc" || protocol == "http2" || protocol == "kubernetes.io/h2c" {
		out.Version = hcm.HTTP2
	}
	return out
}

// originals are the addresses of the endpoints that have the port, as clients find them. Before a headless
// Service nothing makes the target port of its own.
func (p *pair) originals() []netip.AddrPort {
	var out []netip.AddrPort
	for _, address := range p.service.Endpoints {
		number := p.service.TargetAt(p.port, address)
		if p.service.Headless {
			number = p.port.Number
		}
		if number != 0 {
			out = append(out, netip.AddrPortFrom(address, number))
		}
	}
	return out
}

// other are the protocols of Istio that are not HTTP (pkg/config/protocol/instance.go).
// Without any Istio finds out by itself, and HTTP is what is asked about.
var other = []string{"tcp", "tls", "https", "mongo", "redis", "mysql", "kubernetes.io/wss"}

// OwnTLS reports whether a protocol is TLS already, before any proxy adds it.
func OwnTLS(protocol string) bool {
	return strings.EqualFold(protocol, "https") || strings.EqualFold(protocol, "tls")
}

func speaksHTTP(protocol string) bool { return !slices.Contains(other, strings.ToLower(protocol)) }
