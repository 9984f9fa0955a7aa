// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
)

// probes lists for every published route one request that shows whether it does
// what was stated, for its Application and for its ingress. Without a probe key
// there are none: nothing would answer them but the application.
func (b *builder) probes(out *Outcome) {
	if b.snapshot.ProbeKey() == "" {
		return
	}
	for _, in := range b.graph.Ingresses {
		if in.Closed || in.HTTPS.Target == 0 {
			continue
		}
		published := 0
		for _, h := range in.Hosts {
			published += len(h.Publications)
		}
		out.Ingresses[in.Ref].Probes = make([]Probe, 0, published)
		for _, h := range in.Hosts {
			for _, p := range h.Publications {
				path, ok := witness(p)
				if p.Unpublished || !ok {
					continue
				}
				probe := b.probeOf(p, path)
				a, i := out.Applications[p.Application.Ref], out.Ingresses[in.Ref]
				if a.Probes == nil {
					a.Probes = make([]Probe, 0, len(p.Application.Publications))
				}
				a.Probes = append(a.Probes, probe)
				i.Probes = append(i.Probes, probe)
			}
		}
	}
}

// witness is a request path that the publication's route decides, if there is one
// that is easily found: another route may state the same path exactly, or all of
// what is below.
func witness(p *intent.Publication) (string, bool) {
	for _, path := range p.Route.Paths {
		candidates := []string{path.Value}
		if path.Prefix {
			below := strings.TrimSuffix(path.Value, "/") + "/"
			candidates = append(candidates, below, below+"trellis-probe")
		}
		for _, request := range candidates {
			if p.Host.Paths.Decides(request, path, p.Route) {
				return request, true
			}
		}
	}
	return "", false
}

func (b *builder) probeOf(p *intent.Publication, path string) Probe {
	in := p.Host.Ingress
	probe := Probe{
		Application: p.Application.Ref, Route: p.Route.Name,
		Gateway: WorkloadSelector(in.Pods), Port: in.HTTPS.Target,
		Host: p.Host.Name, Method: "GET", Path: path,
		Expect: ExpectOpen, Fingerprint: b.fingerprint(p.Host),
	}
	if len(p.Route.Methods) > 0 {
		probe.Method = p.Route.Methods[0]
	}
	if p.Closed || p.Route.Mode == v1alpha1.AuthenticationRequired {
		probe.Expect = ExpectRefused
	}
	return probe
}
