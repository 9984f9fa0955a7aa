// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sight

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/answer"
)

// Doors are what is seen of the ways in: those that may be read, and of others what
// concerns the viewer's own hosts.
func (s *Sight) Doors(of *answer.Doors) *answer.Doors {
	if s.AllIngresses && s.Everywhere {
		return of
	}
	out := &answer.Doors{Ingresses: []answer.Ingress{}, Certificates: []answer.Certificate{}, Records: []answer.Record{}}
	own := map[string]bool{}
	for _, i := range of.Ingresses {
		seen := s.ingress(i)
		for _, h := range seen.Hosts {
			own[h.Host] = true
		}
		if seen.Redacted {
			out.Redacted = true
			if len(seen.Hosts) == 0 {
				continue
			}
		}
		out.Ingresses = append(out.Ingresses, seen)
	}
	for _, c := range of.Certificates {
		if !s.Ingress(c.Namespace) {
			out.Redacted = true
			c.Names, _ = kept(c.Names, func(name *string) bool { return own[*name] })
			if len(c.Names) == 0 {
				continue
			}
			c.Redacted, c.Conditions = true, nil
		}
		out.Certificates = append(out.Certificates, c)
	}
	for _, r := range of.Records {
		if !s.Ingress(r.Namespace) {
			out.Redacted = true
			if !own[r.Host] {
				continue
			}
			r.Redacted, r.Targets, r.Provider, r.Conditions = true, nil, "", nil
		}
		out.Records = append(out.Records, r)
	}
	var less bool
	out.Providers, less = kept(of.Providers, func(p *answer.DNSProvider) bool { return s.Ingress(p.Namespace) })
	out.Redacted = out.Redacted || less
	return out
}

// ingress is what is seen of one. Who else is published at a host is for those who may
// read the ingress or the Application.
func (s *Sight) ingress(of answer.Ingress) answer.Ingress {
	all := s.Ingress(of.Namespace)
	out := of
	out.Hosts, _ = kept(of.Hosts, func(h *answer.Host) bool { return all || h.Application != "" && s.workload(h.Application) })
	if all {
		out.Hosts = slices.Clone(out.Hosts)
		for i := range out.Hosts {
			if h := &out.Hosts[i]; h.Application != "" && !s.workload(h.Application) {
				h.Application, out.Redacted = "", true
			}
		}
		return out
	}
	out.Redacted = true
	out.Conditions, out.Gateways, out.TLS = nil, nil, answer.TLS{}
	out.Domains, _ = kept(of.Domains, func(domain *string) bool {
		return slices.ContainsFunc(out.Hosts, func(h answer.Host) bool { return h.Host == *domain || strings.HasSuffix(h.Host, "."+*domain) })
	})
	out.IdentityProviders = nil
	for _, p := range of.IdentityProviders {
		out.IdentityProviders = append(out.IdentityProviders, answer.IdentityProvider{Name: p.Name})
	}
	for i := range out.Hosts {
		out.Hosts[i].Says = ""
	}
	return out
}
