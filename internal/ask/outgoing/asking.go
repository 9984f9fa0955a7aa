// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// asking is a caller on one side.
type asking struct {
	Side
	// node is its proxy; nil: the workload is not there yet.
	node  *xds.Node
	scope xds.Scope

	// config and world are those of one that is asked about for all that are like it.
	config *xds.Config
	world  *ask.World
	// whole is the statement of its limit, once it was asked for.
	whole *ask.Origin
}

func newAsking(side Side, node *xds.Node) *asking {
	out := &asking{Side: side, node: node}
	if node != nil {
		out.scope = side.Scope(*node)
	}
	return out
}

// open has the configuration of the proxy made. It is kept no longer than calls are asked
// about: there may be many.
func (a *asking) open() error {
	if a.node == nil {
		return nil
	}
	var err error
	if a.config, err = a.Config(*a.node); err != nil {
		return fmt.Errorf("the configuration of %s is not known: %w", a.node, err)
	}
	proxies := alone{*a.node, a.config}
	a.world = &ask.World{Evaluator: decide.New(proxies), Proxies: proxies, Nodes: []xds.Node{*a.node}, Directory: a.Directory, At: a.At}
	return nil
}

func (a *asking) close() { a.config, a.world = nil, nil }

// likeness is the same for callers of one namespace of which all calls end alike: Istio gives
// them the same, where the same limits them and the same of what they send comes to the proxy.
func (a *asking) likeness() string {
	if a.node == nil {
		return ""
	}
	out := fmt.Sprint(a.node.Cluster, "\n", a.node.Namespace, "\n", a.node.Interception, "\n", a.node.Capture, "\n", a.scope.Own, "\n", a.scope.Registry)
	for _, l := range a.scope.Egress {
		out += "\n" + l.String()
	}
	return out
}

// alone is a mesh with one proxy, so that nothing else decides.
type alone struct {
	node   xds.Node
	config *xds.Config
}

// At implements decide.Proxies.
func (alone) At(netip.Addr) []xds.Node { return nil }

// Node implements decide.Proxies.
func (a alone) Node(key xds.Key) (xds.Node, bool) { return a.node, key == a.node.Key() }

// Config implements decide.Proxies.
func (a alone) Config(xds.Node) (*xds.Config, error) { return a.config, nil }

// sees reports whether a limit leaves a host to be called, if it is there.
func (a *asking) sees(host string) bool {
	if a.node == nil || !a.scope.Registry {
		return false
	}
	s := a.Directory.Find(host, a.node.Namespace)
	if s == nil || a.scope.Name == "" {
		return s != nil
	}
	_, _, ok := a.scope.Lists(a.node.Namespace, s.Name.Namespace, host, 0)
	return ok
}

// place is a port of a host, as the proxy has a cluster for it.
type place struct {
	host string
	port uint16
}

func (a *asking) clusters() []place {
	if a.config == nil {
		return nil
	}
	var out []place
	for _, c := range a.config.Resources().Clusters {
		if port, _, host, ok := xds.ParseOutbound(c.GetName()); ok {
			out = append(out, place{host, port})
		}
	}
	return out
}

// has reports whether the proxy has a cluster for a destination.
func (a *asking) has(d destination) bool {
	return a.config != nil && len(a.config.Subsets(d.host, d.port)) > 0
}

// port is what the directory knows of a port of a host.
func (a *asking) port(host string, port uint16) (*directory.Service, directory.Port, bool) {
	if a.node == nil {
		return nil, directory.Port{}, false
	}
	s := a.Directory.Find(host, a.node.Namespace)
	if s == nil || !strings.EqualFold(s.Host, host) {
		return nil, directory.Port{}, false
	}
	p, ok := s.Port(port)
	return s, p, ok
}

// fate is what becomes of a call at its caller's proxy: Allow where it is let out, Deny where
// it is kept in, NoRoute where there is nothing to be called, or Unknown.
type fate struct {
	outcome decide.Outcome
	why     string
}

func (a *asking) ask(d destination) fate {
	if a.node == nil {
		return fate{decide.NoRoute, "the workload is new"}
	}
	answer, err := a.world.Can(&ask.Request{From: &ask.WorkloadRef{Namespace: a.node.Namespace, Name: a.node.Name}, URL: d.url()})
	if err != nil {
		return fate{decide.NoRoute, "there is nothing of that name and port"}
	}
	proxy := a.node.String()
	at := slices.IndexFunc(answer.Steps, func(s decide.Step) bool { return s.Proxy == proxy && s.Stage == decide.StageCluster })
	switch {
	case at >= 0 && !answer.Steps[at].Stops && answer.Steps[at].Rule != xds.BlackHole:
		return fate{decide.Allow, ""}
	case at >= 0:
		return fate{decide.Deny, ""}
	case answer.Outcome == decide.Unknown:
		return fate{decide.Unknown, answer.Why}
	case answer.Outcome == decide.Allow: // it goes past the proxy
		return fate{decide.Allow, ""}
	}
	return fate{decide.Deny, ""}
}

// url is what a caller asks for. Of hosts below a name it is one.
func (d destination) url() *url.URL {
	host := strings.Replace(d.host, "*", "any-other", 1)
	out := &url.URL{Scheme: d.scheme, Host: host, Path: "/"}
	if known := map[string]uint16{"http": 80, "https": 443}; known[d.scheme] != d.port {
		out.Host = fmt.Sprintf("%s:%d", host, d.port)
	}
	if d.scheme == "tcp" {
		out.Path = ""
	}
	return out
}

func (a *asking) witness(d destination) ask.Witness {
	out := ask.Witness{From: a.node.Namespace + "/" + a.node.Name, URL: d.url().String()}
	if d.scheme != "tcp" {
		out.Method = "GET"
	}
	return out
}
