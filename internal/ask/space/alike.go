// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Alike reports whether all sides treat the requests of Within alike, because every
// filter, rule, route and workload that they may meet is the same. It errs towards
// false.
func (e *Explorer) Alike() bool {
	e.begin()
	var first string
	for i, s := range e.Sides {
		if !s.Door.To.IsValid() {
			return false
		}
		t := &tracer{walker: &walker{Explorer: e, side: s, add: func(class.Dimension, atom.Pattern) {}}, seen: map[string]bool{}}
		t.gateway(e.Within)
		if !t.sure || t.unsure || i > 0 && t.parts.String() != first {
			return false
		}
		first = t.parts.String()
	}
	return true
}

// tracer writes down all that a host's requests may meet.
type tracer struct {
	*walker
	parts strings.Builder
	seen  map[string]bool
	// sure: the tracer came to the routes. unsure: it could not read something.
	sure, unsure bool
}

func (t *tracer) gateway(p *class.Point) {
	to := t.side.Door.To
	nodes := t.side.Proxies.At(to.Addr())
	if len(nodes) == 0 {
		return
	}
	config, err := t.side.Proxies.Config(nodes[0])
	if err != nil {
		return
	}
	l, ok := config.Inbound(to)
	if !ok {
		return
	}
	choice := t.side.Reader.listener(l).Choose(t.side.Door.connection(p), "http/1.1")
	if choice.Chain == nil {
		return
	}
	ch := t.side.Reader.chain(config, choice.Chain)
	if !ch.http || ch.table == nil || len(ch.network) > 0 {
		return
	}
	v := &view{point: p, port: uint32(to.Port()), tls: choice.Chain.GetTransportSocket() != nil, blind: func(string) {}}
	t.write(choice.Chain.GetTransportSocket())
	t.filters(ch, v)
	t.parts.WriteString(ch.others)
	at, known := t.domain(ch.table, v)
	t.sure = known
	t.write(ch.table.rest)
	if at == nil {
		return
	}
	t.write(at.rest)
	for _, r := range at.routes {
		for _, one := range r.protos {
			t.write(one)
		}
		for _, name := range r.clusters {
			t.cluster(config, name)
		}
	}
}

func (t *tracer) filters(ch *chain, v *view) {
	for _, f := range ch.filters {
		switch f := f.(type) {
		case *rules:
			if f == nil {
				continue
			}
			// Where no rule is left, what the filter does with all the rest is.
			fmt.Fprintf(&t.parts, "rules %v %v\n", f.action, f.shadow)
			for _, rule := range t.residual(f, v) {
				fmt.Fprintf(&t.parts, "%s %v %v\n", rule.Name, rule.Action, f.shadow)
				t.write(rule.proto)
			}
		case *tokens:
			t.write(f.rest)
			for _, provider := range f.providers {
				t.write(provider)
			}
		}
	}
}

func (t *tracer) write(m proto.Message) {
	d := t.side.Reader.digest(m)
	t.unsure = t.unsure || !d.known
	t.parts.Write(d.sum[:])
}

// cluster writes down where it leads: how it is secured, and what the workloads
// there say to connections. Their addresses make no difference.
func (t *tracer) cluster(config *xds.Config, name string) {
	if t.seen[name] {
		return
	}
	t.seen[name] = true
	c, ok := config.Cluster(name)
	if !ok {
		t.parts.WriteString("no cluster " + name + "\n")
		return
	}
	t.write(c)
	assignment, _ := config.Endpoints(name)
	for _, group := range assignment.GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			at, ok := xds.AddrPort(e.GetEndpoint().GetAddress())
			if !ok {
				t.write(e)
				continue
			}
			t.write(e.GetMetadata())
			fmt.Fprintf(&t.parts, "port %d\n", at.Port())
			t.workload(at)
		}
	}
}

func (t *tracer) workload(at netip.AddrPort) {
	for _, node := range t.side.Proxies.At(at.Addr()) {
		if t.Same != nil && node.Type == xds.Sidecar && t.Same(node) {
			t.parts.WriteString(node.String())
			continue
		}
		config, err := t.side.Proxies.Config(node)
		if err != nil {
			t.unsure = true
			return
		}
		l, ok := config.Inbound(at)
		t.parts.WriteString(node.String())
		if ok {
			t.write(l)
		}
	}
}
