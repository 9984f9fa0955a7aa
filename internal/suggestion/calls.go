// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package suggestion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

// calls are the Applications that it called: who is called counts who calls.
func (m *maker) calls(totals []hits.Total) {
	if m.account == "" {
		m.note("whom it calls cannot be told: its workloads have no service account that is theirs alone")
		return
	}
	by := map[string]*seen{}
	var keptIn, nowhere uint64
	for i := range totals {
		t := &totals[i]
		switch {
		case t.Peer != m.account || t.Place != hits.Workload || t.Verdict == hits.Failed:
		case strings.HasPrefix(t.Object, "Sidecar "):
			keptIn += t.N
		case t.Application == "":
			nowhere += t.N
		case t.Namespace != m.name.Namespace || t.Application != m.name.Name:
			gather(by, t.Namespace+"/"+t.Application, t)
		}
	}
	used := map[string]bool{}
	for callee, s := range by {
		m.out.Calls = append(m.out.Calls, m.call(callee, s, used))
	}
	slices.SortFunc(m.out.Calls, compare)
	stated := m.statedCalls()
	m.unseen("calls", len(stated), func(i int) string { return string(stated[i].Name) }, used)
	if keptIn > 0 {
		m.note(fmt.Sprintf("%d calls were not let out by its own proxy; whom they were for is not kept", keptIn))
	}
	if nowhere > 0 {
		m.note(fmt.Sprintf("%d of its calls went to workloads for which no Application is stated", nowhere))
	}
	m.addCalls()
}

func (m *maker) note(text string) { m.out.Notes = append(m.out.Notes, text) }

func (m *maker) statedCalls() []v1alpha1.Call {
	if m.application.Spec.Access == nil {
		return nil
	}
	return m.application.Spec.Access.Calls
}

// call is one Application that is called, and which of the entries cover it.
func (m *maker) call(callee string, s *seen, used map[string]bool) Party {
	p, wanted, unplaced := s.party(callee, false)
	var about []entry
	for _, c := range m.statedCalls() {
		if m.about(&c, callee) {
			about = append(about, entry{c.Name, c.Routes})
		}
	}
	missing, covered := p.declare(about, wanted, used)
	switch {
	case covered:
	case len(wanted) == 0 && !unplaced:
		p.Why = "it refused the calls: it has to let this one in first"
	case m.statedCalls() == nil && !m.options.Calls:
		p.Why = "nothing is stated of calls, so nothing is restricted; --calls proposes to state them"
	case len(missing) == 0 && m.serves(callee):
		p.Why = "the calls are of no route that it states"
	default:
		p.Adds = "?"
		if p.Routes = missing; len(missing) > maxRoutes {
			p.Routes = nil
		}
	}
	return p
}

// serves reports whether an Application states routes.
func (m *maker) serves(callee string) bool {
	namespace, name, _ := split(callee)
	a := m.snapshot.Application(model.Name{Namespace: namespace, Name: name})
	return a != nil && len(a.Spec.Routes) > 0
}

// about reports whether an entry is about an Application, or the Service that it is stated
// for.
func (m *maker) about(c *v1alpha1.Call, callee string) bool {
	namespace, name, _ := split(callee)
	switch {
	case c.Peer.Application != nil:
		return string(c.Peer.Application.Namespace) == namespace && c.Peer.Application.Name == name
	case c.Peer.Service != nil:
		a := m.snapshot.Application(model.Name{Namespace: namespace, Name: name})
		return a != nil && string(c.Peer.Service.Namespace) == namespace && c.Peer.Service.Name == a.Spec.Service
	}
	return false
}

// addCalls makes entries of the Applications for which one is proposed.
func (m *maker) addCalls() {
	none := m.access.Calls == nil
	added := false
	for i := range m.out.Calls {
		p := &m.out.Calls[i]
		if p.Adds == "" {
			continue
		}
		routes := labels(p.Routes)
		at := slices.IndexFunc(m.access.Calls, func(c v1alpha1.Call) bool {
			return c.Peer.Application != nil && len(c.Routes) > 0 && m.about(&c, p.Peer)
		})
		if at < 0 {
			namespace, name, _ := split(p.Peer)
			c := v1alpha1.Call{Peer: v1alpha1.Callee{Application: &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(namespace), Name: name}}}
			c.Name = nameFor(name, func(name string) bool {
				return slices.ContainsFunc(m.access.Calls, func(c v1alpha1.Call) bool { return string(c.Name) == name })
			})
			m.access.Calls = append(m.access.Calls, c)
			at = len(m.access.Calls) - 1
		}
		m.access.Calls[at].Routes = append(m.access.Calls[at].Routes, routes...)
		p.Adds = string(m.access.Calls[at].Name)
		m.changed, added = true, true
	}
	if added && none {
		m.note("once calls are stated, everything else is refused: also what is called outside of the mesh, which no proxy of a callee counts")
	}
}
