// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Client is a workload that sends requests. Pods of one workload are one Client: they
// are sent the same configuration.
type Client struct {
	// Ref names it as people do: by its Service, else by its account, else by its pod.
	Ref ask.WorkloadRef
	// Node is the proxy beside it; nil: it has none, and sends as it is.
	Node *xds.Node
	// Address is where it sends from; invalid where that is not known.
	Address netip.Addr
}

// String is the name that people read.
func (c Client) String() string { return c.Ref.String() }

// Clients are all of a mesh, in order of their names.
func (c *Checker) Clients() []Client {
	var out []Client
	seen := map[string]bool{}
	for i := range c.world.Nodes {
		n := &c.world.Nodes[i]
		key := alike(*n)
		if n.Type == xds.Waypoint || seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, c.client(n))
	}
	for _, s := range c.world.Directory.Services() {
		if s.External {
			continue
		}
		for _, address := range s.Endpoints {
			if len(c.world.Proxies.At(address)) == 0 {
				out = append(out, Client{Ref: refOf(s), Address: address})
				break
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Client) int {
		return cmp.Or(strings.Compare(a.Ref.Namespace, b.Ref.Namespace), strings.Compare(a.Ref.Name, b.Ref.Name))
	})
	return distinct(out)
}

// distinct gives clients of one name the name of their pod, as far as that is known.
func distinct(clients []Client) []Client {
	count := map[ask.WorkloadRef]int{}
	for _, c := range clients {
		count[c.Ref]++
	}
	for i := range clients {
		switch c := &clients[i]; {
		case count[c.Ref] < 2:
		case c.Node != nil:
			c.Ref.Name = c.Node.Name
		default:
			c.Ref.Name += " (no proxy)"
		}
	}
	return clients
}

func (c *Checker) client(n *xds.Node) Client {
	out := Client{Ref: ask.WorkloadRef{Namespace: n.Namespace, Name: cmp.Or(n.ServiceAccount, n.Name)}, Node: n}
	if len(n.Addresses) > 0 {
		out.Address = n.Addresses[0]
	}
	if s := c.serviceAt[out.Address]; s != nil {
		out.Ref = refOf(s)
	}
	return out
}

func refOf(s *directory.Service) ask.WorkloadRef {
	return ask.WorkloadRef{Namespace: s.Name.Namespace, Name: s.Name.Name}
}

// alike is the same for proxies that Istio tells apart in nothing that concerns what
// they send.
func alike(n xds.Node) string {
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		if k != "pod-template-hash" && k != "controller-revision-hash" && k != "statefulset.kubernetes.io/pod-name" {
			labels = append(labels, k+"="+n.Labels[k])
		}
	}
	return strings.Join(append([]string{string(n.Type), n.Cluster, n.Namespace, n.ServiceAccount, string(n.Interception), n.Version, n.Capture.String()}, labels...), "\x00")
}

// Client finds a client by the name of a Service, a pod or a ServiceAccount, or by that
// of the Deployment, Job or other owner of a pod.
func (c *Checker) Client(ref ask.WorkloadRef) (Client, error) {
	node, err := c.world.Workload(ref)
	if err == nil {
		return Client{Ref: ref, Node: &node, Address: first(node.Addresses)}, nil
	}
	for _, s := range c.world.Directory.Services() {
		if !s.External && refOf(s) == ref && len(s.Endpoints) > 0 {
			// It has no proxy, or Workload would have found one.
			return Client{Ref: ref, Address: s.Endpoints[0]}, nil
		}
	}
	pod, ok := c.world.Directory.Pod(model.Name{Namespace: ref.Namespace, Name: ref.Name})
	if !ok {
		var none *ask.NoWorkloadError
		if errors.As(err, &none) {
			// Those without a proxy are clients, too.
			none.Known = nil
			for _, there := range c.ClientsIn(ref.Namespace) {
				none.Known = append(none.Known, there.Ref.Name)
			}
		}
		return Client{}, err
	}
	out := Client{Ref: ref, Address: pod.Address}
	if nodes := c.world.Proxies.At(pod.Address); len(nodes) > 0 {
		out.Node = &nodes[0]
	}
	return out, nil
}

func first(addresses []netip.Addr) netip.Addr {
	if len(addresses) == 0 {
		return netip.Addr{}
	}
	return addresses[0]
}

// Target is what is asked about: a service, or one port of it.
type Target struct {
	Service *directory.Service
	// Port is a port of the service; 0 is all.
	Port uint16
}

// Target finds a service by its host, or by NAMESPACE/NAME.
func (c *Checker) Target(name string, port uint16) (Target, error) {
	s := c.world.Directory.Find(name, "")
	if namespace, short, ok := strings.Cut(name, "/"); ok {
		s = c.world.Directory.Find(short+"."+namespace, "")
	}
	if s == nil {
		return Target{}, c.noService(name)
	}
	if _, ok := s.Port(port); !ok && port != 0 {
		var ports []string
		for _, p := range s.Ports {
			ports = append(ports, fmt.Sprint(p.Number))
		}
		return Target{}, fmt.Errorf("service %s has no port %d; it has %s", s.Host, port, strings.Join(ports, ", "))
	}
	return Target{Service: s, Port: port}, nil
}

// noService says that nothing has a name, and what else there is in its namespace.
func (c *Checker) noService(name string) error {
	namespace, _, ok := strings.Cut(name, "/")
	if !ok {
		return fmt.Errorf("there is no service %s: give NAMESPACE/NAME, such as shop/cart, or a host", name)
	}
	var known []string
	for _, t := range c.TargetsIn(namespace) {
		known = append(known, t.Service.Name.Name)
	}
	if len(known) == 0 {
		return fmt.Errorf("there is no service %s: none is known in namespace %s; correct the name, or give the objects of that namespace, too", name, namespace)
	}
	const shown = 5
	others := ""
	if len(known) > shown {
		known, others = known[:shown], " and others"
	}
	return fmt.Errorf("there is no service %s; in that namespace there are %s%s", name, strings.Join(known, ", "), others)
}
