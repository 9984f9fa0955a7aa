// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// World is one moment of a mesh, to be asked about. It is safe for concurrent
// use; nothing in it may be changed after the first question.
type World struct {
	Evaluator *decide.Evaluator
	Proxies   decide.Proxies
	// Servers are the same, but their sidecars may have only what concerns
	// connections to them; nil: they are Proxies. Questions about all workloads are
	// much faster by it.
	Servers decide.Proxies
	// Nodes are all proxies.
	Nodes     []xds.Node
	Directory *directory.Directory
	// Origins may be nil: nothing is said then of the statements behind rules.
	Origins *Origins
	// Applications are those that people stated; read only.
	Applications []*v1alpha1.Application
	// At is the moment that tokens are looked at.
	At time.Time

	sets sets
}

// outside is the client that a question about the internet has: an address that
// is kept for documentation (RFC 5737).
var outside = netip.MustParseAddrPort("203.0.113.10:40000")

// Elsewhere is the address of hosts that nothing in the mesh knows.
var Elsewhere = netip.MustParseAddr("198.51.100.80")

// WorkloadRef names a workload as people do: by its Service, pod, or account.
type WorkloadRef struct {
	Namespace, Name string
}

func (r WorkloadRef) String() string { return r.Namespace + "/" + r.Name }

// Workload finds the proxy of a workload: of the pod of that name, else of one
// behind the Service of that name, else of one with that ServiceAccount. Of
// several the first is taken: those of one Service have the same configuration.
func (w *World) Workload(ref WorkloadRef) (xds.Node, error) {
	inNamespace := func(keep func(xds.Node) bool) (xds.Node, bool) {
		at := slices.IndexFunc(w.Nodes, func(n xds.Node) bool { return n.Namespace == ref.Namespace && keep(n) })
		if at < 0 {
			return xds.Node{}, false
		}
		return w.Nodes[at], true
	}
	if n, ok := inNamespace(func(n xds.Node) bool { return n.Name == ref.Name }); ok {
		return n, nil
	}
	if s, ok := w.Directory.Service(model.Name{Namespace: ref.Namespace, Name: ref.Name}); ok {
		for _, address := range s.Endpoints {
			if nodes := w.Proxies.At(address); len(nodes) > 0 {
				return nodes[0], nil
			}
		}
		for _, address := range s.Endpoints {
			if why := w.Directory.Unfollowed(address); why != "" {
				return xds.Node{}, fmt.Errorf("asking about %s: %s, so nothing can be said of it", ref, why)
			}
		}
		return xds.Node{}, fmt.Errorf("the workloads of Service %s have no proxy: Istio's sidecar is not injected there", ref)
	}
	if n, ok := inNamespace(func(n xds.Node) bool { return n.ServiceAccount == ref.Name }); ok {
		return n, nil
	}
	var known []string
	for _, n := range w.Nodes {
		if n.Namespace == ref.Namespace {
			known = append(known, n.Name)
		}
	}
	return xds.Node{}, &NoWorkloadError{Ref: ref, Known: known}
}

// NoWorkloadError says that nothing has a name, and what else there is in its namespace.
type NoWorkloadError struct {
	Ref   WorkloadRef
	Known []string
}

func (e *NoWorkloadError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("there is no workload %s: none is known in namespace %s; correct the name, or give the objects of that namespace, too", e.Ref, e.Ref.Namespace)
	}
	return fmt.Sprintf("there is no workload %s; in that namespace there are %s", e.Ref, shortened(e.Known))
}

// shortened are the first of some names.
func shortened(names []string) string {
	const shown = 5
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// followed takes back a verdict that ends before a workload whose own proxies are not
// followed: they may refuse it.
func (w *World) followed(v decide.Verdict) decide.Verdict {
	if v.Outcome != decide.Allow {
		return v
	}
	ends := []*decide.Destination{v.Reached}
	for _, b := range v.Branches {
		ends = append(ends, b.Verdict.Reached)
	}
	for _, end := range ends {
		if end == nil || end.Workload != nil {
			continue
		}
		why := w.Directory.Unfollowed(end.Address.Addr())
		if s := w.Directory.Virtual(end.Address.Addr()); s != nil {
			why = s.Host + " is reached without a proxy of the client's, and its workloads are not known"
		}
		if why != "" {
			v.Outcome, v.Why, v.Reached, v.Branches = decide.Unknown, why, nil, nil
			return v
		}
	}
	return v
}

// entrance is one way into the mesh for a request from outside.
type entrance struct {
	service *directory.Service
	to      netip.AddrPort
}

// entrances are the gateways that have a port: the first proxy of each Service in
// front of gateway proxies.
func (w *World) entrances(port uint16) []entrance {
	w.sets.mu.Lock()
	defer w.sets.mu.Unlock()
	out, known := w.sets.entrances[port]
	if known {
		return out
	}
	if w.sets.entrances == nil {
		w.sets.entrances = map[uint16][]entrance{}
	}
	for _, s := range w.Directory.Services() {
		p, ok := s.Port(port)
		if !ok || p.Target == 0 {
			continue
		}
		for _, address := range s.Endpoints {
			nodes := w.Proxies.At(address)
			if len(nodes) > 0 && nodes[0].Type == xds.Router && s.TargetAt(p, address) != 0 {
				out = append(out, entrance{s, netip.AddrPortFrom(address, s.TargetAt(p, address))})
				break
			}
		}
	}
	w.sets.entrances[port] = out
	return out
}
