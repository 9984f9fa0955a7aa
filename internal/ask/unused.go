// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Idle is a rule that never decides.
type Idle struct {
	// Proxy has the rule, under the name that Envoy has for it.
	Proxy string `json:"proxy"`
	Rule  string `json:"rule"`
	// Object is the Istio object with the rule.
	Object string `json:"object,omitempty"`
	// By are the rules that decide in its place; none: no request is like it.
	By []string `json:"by,omitempty"`
	// Origin is the statement behind it, or where somebody wrote it by hand; nil: that
	// is not known.
	Origin *Origin `json:"origin,omitempty"`
}

// Idleness is the answer to what makes no difference, and what is open.
type Idleness struct {
	// Unused rules are taken by no request that gets as far as them; Shadowed ones only
	// by such that an earlier rule decides.
	Unused   []Idle `json:"unused"`
	Shadowed []Idle `json:"shadowed"`
	// Unprotected are requests in plaintext and without a token that workloads let in.
	Unprotected []Reach  `json:"unprotected"`
	Notes       []string `json:"notes,omitempty"`
}

// usage is what is found out of one rule.
type usage struct {
	decided, taken bool
	by             map[string]bool
}

type usageKey struct{ proxy, rule string }

// Unused finds the rules of authorization that never decide, and the workloads
// that nothing protects.
func (w *World) Unused() *Idleness {
	out := &Idleness{Unused: []Idle{}, Shadowed: []Idle{}, Unprotected: []Reach{}}
	known := map[usageKey]*usage{}
	doors, problems := w.gateways()
	out.Notes = problems
	open := newRows()
	for _, n := range w.Nodes {
		if n.Type == xds.Router {
			continue
		}
		if _, err := w.servers().Config(n); err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("the configuration of %s is not known, so nothing is said of its rules: %v", n, err))
			continue
		}
		doors = append(doors, w.workloadDoors(n)...)
	}
	identities := w.identities()
	for _, d := range doors {
		e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Identities: identities}
		var taken []usageKey
		e.Met = func(proxy string, rule *space.Rule, takes bool) {
			key := usageKey{proxy, rule.Name}
			if known[key] == nil {
				known[key] = &usage{by: map[string]bool{}}
			}
			if takes {
				taken = append(taken, key)
			}
		}
		_, notes := e.Explore(func(p *class.Point) {
			r := d.Witness(p)
			verdict := w.decide(d, r)
			count(known, taken, verdict)
			taken = nil
			if !d.Mutual && d.Address == stranger && verdict.outcome == decide.Allow && r.Claims == nil {
				open.add(w.insideRow(d, p, r, verdict))
			}
		})
		out.Notes = mergeText(out.Notes, notes)
	}
	w.idle(out, known)
	out.Unprotected = append(out.Unprotected, open.list()...)
	return out
}

// count adds what one class shows.
func count(known map[usageKey]*usage, taken []usageKey, verdict *decided) {
	for _, key := range taken {
		u := known[key]
		u.taken = true
		for _, r := range verdict.rules {
			switch {
			case r.proxy == key.proxy && r.name == key.rule:
				u.decided = true
			case r.proxy == key.proxy && strings.HasPrefix(r.name, "ns["):
				u.by[r.name] = true
			}
		}
	}
}

func (w *World) idle(out *Idleness, known map[usageKey]*usage) {
	// A statement becomes several rules: it is idle where all are.
	busy := map[statement]bool{}
	for key, u := range known {
		if origin := w.originOf(key.rule); u.decided && origin != nil {
			busy[statement{origin.Object, origin.Field}] = true
		}
	}
	for key, u := range known {
		origin := w.originOf(key.rule)
		if u.decided || origin != nil && busy[statement{origin.Object, origin.Field}] {
			continue
		}
		// Whose token it is, the filter that reads tokens finds out first, but not where
		// several issuers share it or a browser's preflight passes it by: these rules
		// are for that, and nobody stated them.
		if origin != nil && origin.Reason == provenance.ReasonIssuer {
			continue
		}
		one := Idle{Proxy: key.proxy, Rule: key.rule, By: slices.Sorted(maps.Keys(u.by))}
		if object := decide.PolicyOf(key.rule); object != nil {
			one.Object = object.String()
			one.Origin = w.Origins.Behind(decide.Step{Rule: key.rule, Object: object})
		}
		if u.taken {
			out.Shadowed = append(out.Shadowed, one)
		} else {
			out.Unused = append(out.Unused, one)
		}
	}
	for _, list := range [][]Idle{out.Unused, out.Shadowed} {
		slices.SortFunc(list, func(a, b Idle) int { return strings.Compare(a.Proxy+" "+a.Rule, b.Proxy+" "+b.Rule) })
	}
}

type statement struct{ object, field string }

func (w *World) originOf(rule string) *Origin {
	return w.Origins.Of(decide.Step{Rule: rule, Object: decide.PolicyOf(rule)})
}
