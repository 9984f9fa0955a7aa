// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// door is a place where requests come in, with its name.
type door struct {
	space.Door
	// key tells doors of one world apart, and finds the same one in another.
	key string
	// service is the gateway's, or the one that the port of a workload belongs to.
	service *directory.Service
	// port is what clients address: of the Service.
	port uint16
	// node is the proxy.
	node xds.Node
}

// scheme is how clients write it.
func (d *door) scheme() string {
	switch {
	case d.TLS:
		return "https"
	case !d.HTTP:
		return "tcp"
	}
	return "http"
}

// sets is what questions remember.
type sets struct {
	mu        sync.Mutex
	entrances map[uint16][]entrance
	reader    *space.Reader
	evaluator *decide.Evaluator
	outside   outsideHosts
	exposed   *Exposed
}

func (w *World) reader() *space.Reader {
	w.sets.mu.Lock()
	defer w.sets.mu.Unlock()
	if w.sets.reader == nil {
		w.sets.reader = space.NewReader()
	}
	return w.sets.reader
}

// servers are the proxies as those that connect to them meet them.
func (w *World) servers() decide.Proxies {
	if w.Servers != nil {
		return w.Servers
	}
	return w.Proxies
}

// evaluator decides requests that begin at a server or a gateway.
func (w *World) evaluator() *decide.Evaluator {
	if w.Servers == nil {
		return w.Evaluator
	}
	w.sets.mu.Lock()
	defer w.sets.mu.Unlock()
	if w.sets.evaluator == nil {
		w.sets.evaluator = decide.New(w.Servers)
	}
	return w.sets.evaluator
}

// side is a door of this World, to be explored; nil: the World has none there.
func (w *World) side(d *door) *space.Side {
	out := &space.Side{Reader: w.reader(), Proxies: w.servers(), Evaluator: w.evaluator(), Door: &space.Door{}}
	if d != nil {
		out.Door = &d.Door
	}
	return out
}

// gateways are the doors from the internet: each filter chain at each port of a
// Service in front of a gateway. Problems are gateways whose configuration is not
// known.
func (w *World) gateways() (doors []*door, problems []string) {
	w.warm(xds.Router)
	for _, s := range w.Directory.Services() {
		for _, p := range s.Ports {
			if p.Target == 0 {
				continue
			}
			at := slices.IndexFunc(s.Endpoints, func(a netip.Addr) bool {
				nodes := w.servers().At(a)
				return len(nodes) > 0 && nodes[0].Type == xds.Router && s.TargetAt(p, a) != 0
			})
			if at < 0 {
				continue
			}
			node := w.servers().At(s.Endpoints[at])[0]
			config, err := w.servers().Config(node)
			if err != nil {
				problems = append(problems, fmt.Sprintf("the configuration of %s is not known: %v", node, err))
				break
			}
			to := netip.AddrPortFrom(s.Endpoints[at], s.TargetAt(p, s.Endpoints[at]))
			l, ok := config.Inbound(to)
			if !ok {
				continue
			}
			for _, c := range xds.FilterChains(l) {
				doors = append(doors, w.gatewayDoor(s, p, node, to, c))
			}
		}
	}
	return doors, problems
}

// warm has the configurations of all proxies of a type made at the same time. Errors
// are those of whoever asks for one.
func (w *World) warm(kind xds.NodeType) {
	nodes := slices.DeleteFunc(slices.Clone(w.Nodes), func(n xds.Node) bool { return n.Type != kind })
	parallel.Each(len(nodes), workers, func(i int) { _, _ = w.servers().Config(nodes[i]) })
}

func (w *World) gatewayDoor(s *directory.Service, p directory.Port, node xds.Node, to netip.AddrPort, c *listenerv3.FilterChain) *door {
	names := c.GetFilterChainMatch().GetServerNames()
	d := &door{service: s, port: p.Number, node: node}
	d.To, d.Address, d.At, d.HTTP = to, outside.Addr(), w.At, speaksHTTP(c)
	d.TLS = c.GetTransportSocket() != nil || len(names) > 0 || c.GetFilterChainMatch().GetTransportProtocol() == "tls"
	d.Names, d.Port = names, p.Number
	d.key = fmt.Sprintf("%s:%d %s %s", s.Host, p.Number, c.GetFilterChainMatch().GetTransportProtocol(), strings.Join(names, ","))
	return d
}

func speaksHTTP(c *listenerv3.FilterChain) bool {
	return slices.ContainsFunc(c.GetFilters(), func(f *listenerv3.Filter) bool {
		return f.GetTypedConfig().MessageIs((*hcmv3.HttpConnectionManager)(nil))
	})
}

// anyOtherPort stands for the ports of a workload that no Service names.
const anyOtherPort = 64999

// workloadDoors are the doors of one workload for clients inside of the mesh: with
// certificates and in plaintext, at each port that a Service gives it and at any
// other.
func (w *World) workloadDoors(node xds.Node) []*door {
	if len(node.Addresses) == 0 {
		return nil
	}
	var out []*door
	add := func(s *directory.Service, number, target uint16) {
		for _, mutual := range []bool{true, false} {
			d := &door{service: s, port: number, node: node}
			d.To, d.Mutual, d.At = netip.AddrPortFrom(node.Addresses[0], target), mutual, w.At
			// An address of the mesh that no workload has.
			d.Address = stranger
			d.HTTP = w.insideHTTP(node, d)
			d.key = fmt.Sprintf("%s/%s %s:%d %v", node.Namespace, cmp.Or(node.ServiceAccount, node.Name), strconv.Itoa(int(target)), number, mutual)
			out = append(out, d)
		}
	}
	taken := map[uint16]bool{}
	for _, s := range w.Directory.Services() {
		if !slices.Contains(s.Endpoints, node.Addresses[0]) {
			continue
		}
		for _, p := range s.Ports {
			if target := s.TargetAt(p, node.Addresses[0]); target > 0 && !taken[target] {
				taken[target] = true
				add(s, p.Number, target)
			}
		}
	}
	for _, target := range w.chainPorts(node) {
		if !taken[target] {
			taken[target] = true
			s, number := w.serviceAt(node, target)
			add(s, number, target)
		}
	}
	if !taken[anyOtherPort] {
		add(nil, anyOtherPort, anyOtherPort)
	}
	return out
}

// inboundCapture is where connections arrive after they were redirected: Istio
// refuses those that were meant for it.
const inboundCapture = 15006

// chainPorts are the ports that the filter chains of a workload name: also those
// of workloads that no EndpointSlice knows, as WorkloadEntries.
func (w *World) chainPorts(node xds.Node) []uint16 {
	config, err := w.servers().Config(node)
	if err != nil {
		return nil
	}
	l, ok := config.Listener(xds.VirtualInbound)
	if !ok {
		return nil
	}
	var out []uint16
	for _, c := range xds.FilterChains(l) {
		number := uint16(c.GetFilterChainMatch().GetDestinationPort().GetValue())
		if number != 0 && number != inboundCapture && !slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// serviceAt is the Service in the workload's namespace that has a port with this
// target, and its port, where there is only one; else the target itself.
func (w *World) serviceAt(node xds.Node, target uint16) (*directory.Service, uint16) {
	var found *directory.Service
	number := target
	for _, s := range w.Directory.Services() {
		at := slices.IndexFunc(s.Ports, func(p directory.Port) bool { return p.Target == target || slices.Contains(s.Targets(p), target) })
		if s.Name.Namespace != node.Namespace || s.External || at < 0 {
			continue
		}
		if found != nil {
			return nil, target
		}
		found, number = s, s.Ports[at].Number
	}
	return found, number
}

// stranger is the address of a client inside of the mesh that no workload has.
var stranger = netip.MustParseAddr("198.51.100.99")

// insideHTTP finds out whether a port of a workload takes HTTP: by the filter chain
// that takes it.
func (w *World) insideHTTP(node xds.Node, d *door) bool {
	config, err := w.servers().Config(node)
	if err != nil {
		return false
	}
	l, ok := config.Inbound(d.To)
	if !ok {
		return false
	}
	probe := d.Door
	probe.HTTP = true
	return w.reader().TakesHTTP(l, &probe)
}
