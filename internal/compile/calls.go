// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"github.com/trellis-mesh/trellis/internal/compile/egress"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent/calls"
	"github.com/trellis-mesh/trellis/internal/model"
)

// calls makes what limits whom Applications call. Each host of a Sidecar and each port of
// a ServiceEntry is a rule of its own.
func (b *builder) calls(all *calls.Calls) {
	for _, x := range all.Externals {
		stamps := make([]stamp, 0, len(x.Ports))
		for i := range x.Ports {
			stamps = append(stamps, stamp{at(&x.Ports[i].Origin), provenance.ReasonCall})
		}
		b.object(egress.ServiceEntry(shorten("trellis-external-"+x.Host), x), "ServiceEntry", "networking.istio.io", x.Owners, stamps)
	}
	for _, e := range all.Egresses {
		b.sidecar(e)
	}
}

func (b *builder) sidecar(e *calls.Egress) {
	a := e.Application
	domain := b.snapshot.Mesh().ClusterDomain
	var hosts []string
	var stamps []stamp
	add := func(host string, stated place) {
		hosts = append(hosts, host)
		stamps = append(stamps, stamp{stated, provenance.ReasonCall})
	}
	for i := range e.Hosts {
		add(egress.ExternalHost(e.Hosts[i].Name), at(&e.Hosts[i].Origin))
	}
	names := false
	for _, p := range e.Patterns {
		host := egress.PatternHost(p)
		names = names || host == egress.ServiceHost(egress.DNS(), domain)
		add(host, at(&e.Origin))
	}
	for i := range e.Services {
		s := &e.Services[i]
		names = names || s.Name == egress.DNS()
		add(egress.ServiceHost(s.Name, domain), at(&s.Origin))
	}
	if !names {
		add(egress.ServiceHost(egress.DNS(), domain), at(&e.Origin))
	}
	name := model.Name{Namespace: a.Pods.Namespace, Name: applicationName(a.Ref.Name, "")}
	b.object(egress.Sidecar(name, a.Pods.Selector, hosts), "Sidecar", "networking.istio.io", []model.Reference{a.Ref}, stamps)
}
