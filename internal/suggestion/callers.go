// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package suggestion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// maxRoutes is how many an entry may name (v1alpha1.Caller).
const maxRoutes = 32

// callers are those who called from inside of the mesh.
func (m *maker) callers(totals []hits.Total) {
	by := map[string]*seen{}
	gateways := map[string]bool{}
	for i := range totals {
		t := &totals[i]
		if t.Namespace != m.name.Namespace || t.Application != m.name.Name || t.Place != hits.Workload || t.Verdict == hits.Failed {
			continue
		}
		switch {
		case strings.HasPrefix(t.Object, "Sidecar "):
			// That one is of what it calls itself.
		case strings.HasPrefix(t.Field, "spec.exposures"):
			gateways[t.Peer] = true
		default:
			gather(by, t.Peer, t)
		}
	}
	used := map[string]bool{}
	for peer, s := range by {
		// A gateway is let in by the exposures, and is no caller.
		if !gateways[peer] {
			m.out.Callers = append(m.out.Callers, m.caller(peer, s, used))
		}
	}
	slices.SortFunc(m.out.Callers, compare)
	m.unseen("callers", len(m.statedCallers()), func(i int) string { return string(m.statedCallers()[i].Name) }, used)
	m.addCallers()
}

func (m *maker) statedCallers() []v1alpha1.Caller {
	if m.application.Spec.Access == nil {
		return nil
	}
	return m.application.Spec.Access.Callers
}

// caller is one, and which of the entries cover it.
func (m *maker) caller(peer string, s *seen, used map[string]bool) Party {
	p, wanted, unplaced := s.party(peer, m.options.Denied)
	var about []entry
	for _, c := range m.statedCallers() {
		if m.covers(&c, peer) {
			about = append(about, entry{c.Name, c.Routes})
		}
	}
	missing, covered := p.declare(about, wanted, used)
	switch {
	case covered:
	case len(wanted) == 0 && !unplaced:
		p.Why = "it was refused; --denied proposes to let it in"
	case !m.named(peer):
		p.Why = unnamed(peer)
	case len(missing) == 0 && len(m.application.Spec.Routes) > 0:
		p.Why = "its requests are of no route that is stated"
	case len(missing) > maxRoutes:
		p.Why = fmt.Sprintf("it calls %d routes, and an entry names %d at most: name it without routes, or in two entries", len(missing), maxRoutes)
	default:
		p.Adds = "?"
		p.Routes = missing
	}
	return p
}

// covers reports whether an entry is about a peer.
func (m *maker) covers(c *v1alpha1.Caller, peer string) bool {
	namespace, _, ok := split(peer)
	switch p := c.Peer; {
	case p.Any != nil:
		return true
	case !ok:
		return false
	case p.Namespace != nil:
		return string(p.Namespace.Name) == namespace
	case p.ServiceAccount != nil:
		return string(p.ServiceAccount.Namespace)+"/"+p.ServiceAccount.Name == peer
	case p.Application != nil:
		owner := m.owners[peer]
		return owner.Namespace == string(p.Application.Namespace) && owner.Name == p.Application.Name
	}
	return false
}

// named reports whether an entry can be about a peer alone.
func (m *maker) named(peer string) bool {
	_, account, ok := split(peer)
	return ok && account != "default"
}

func unnamed(peer string) string {
	switch peer {
	case attribution.NoIdentity:
		return "it shows no certificate: only peer: {any: {}} would let it in, and everybody else"
	case attribution.UnknownPeer:
		return "the log does not say who it is"
	case hits.Other:
		return "these are peers that were not kept apart, since there are too many"
	}
	if _, account, ok := split(peer); ok && account == "default" {
		return "every workload of its namespace may run as the account default: give it an account of its own"
	}
	return "it is not of this mesh"
}

// addCallers makes entries of the parties for which one is proposed.
func (m *maker) addCallers() {
	for i := range m.out.Callers {
		p := &m.out.Callers[i]
		if p.Adds == "" {
			continue
		}
		routes := labels(p.Routes)
		at := slices.IndexFunc(m.access.Callers, func(c v1alpha1.Caller) bool {
			return (c.Peer.ServiceAccount != nil || c.Peer.Application != nil) && len(c.Routes) > 0 && len(c.Routes)+len(routes) <= maxRoutes && m.covers(&c, p.Peer)
		})
		if at < 0 {
			namespace, account, _ := split(p.Peer)
			c := v1alpha1.Caller{Peer: v1alpha1.Peer{ServiceAccount: &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(namespace), Name: account}}}
			if owner, ok := m.owners[p.Peer]; ok {
				c.Peer = v1alpha1.Peer{Application: &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(owner.Namespace), Name: owner.Name}}
				account = owner.Name
			}
			c.Name = nameFor(account, func(name string) bool {
				return slices.ContainsFunc(m.access.Callers, func(c v1alpha1.Caller) bool { return string(c.Name) == name })
			})
			m.access.Callers = append(m.access.Callers, c)
			at = len(m.access.Callers) - 1
		}
		m.access.Callers[at].Routes = append(m.access.Callers[at].Routes, routes...)
		p.Adds = string(m.access.Callers[at].Name)
		m.changed = true
	}
}

func labels(in []string) []v1alpha1.LabelName {
	var out []v1alpha1.LabelName
	for _, s := range in {
		out = append(out, v1alpha1.LabelName(s))
	}
	return out
}

// unseen notes entries by which nobody was seen.
func (m *maker) unseen(list string, n int, name func(int) string, used map[string]bool) {
	for i := range n {
		if !used[name(i)] {
			m.out.Unseen = append(m.out.Unseen, fmt.Sprintf("spec.access.%s[%d] (%s)", list, i, name(i)))
		}
	}
}
