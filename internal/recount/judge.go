// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package recount

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// judge finds out what comes of the requests of one key.
func (r *Recount) judge(t *hits.Total, tell func(*ask.Request) (string, *ask.Origin)) Group {
	g := Group{Key: t.Key, N: t.N, Last: t.Last, Class: replay.Unknown}
	if t.Place == "" {
		g.Why = "when it was counted nobody knew which proxy decided"
		return g
	}
	if r.untouched(t.Key) {
		g.Class = replay.Same
		return g
	}
	if t.Verdict == hits.Failed && !signature.Cause(t.Reason).MutualTLS() {
		g.Why = "it failed on its way: whether it would again is not decided by statements"
		return g
	}
	found := map[replay.Class][]seen{}
	for _, at := range r.of(t.Key) {
		found[at.class] = append(found[at.class], at)
	}
	stays := len(found[replay.Same]) > 0 || r.unchanged(t.Key)
	switch {
	case len(found[replay.Changed]) == 0 && len(found[replay.Unknown]) == 0:
		if g.Class = replay.Same; !stays {
			g.Class, g.Why = replay.Unknown, "no kind of request is known that ends so now: what decided it has changed since, or hangs on what no count keeps"
		}
		return g
	case len(found[replay.Changed]) == 0 && !stays:
		g.Was, g.Now = outcomes(found[replay.Unknown])
	case len(found[replay.Unknown]) == 0 && !stays:
		g.Class = replay.Changed
		g.Was, g.Now = outcomes(found[replay.Changed])
	default:
		g.Class = replay.Depends
		g.Was, g.Now = outcomes(slices.Concat(found[replay.Changed], found[replay.Unknown]))
	}
	changed := r.seen[r.first(slices.Concat(found[replay.Changed], found[replay.Unknown]))]
	g.Changes = &changed.witness
	if same := found[replay.Same]; len(same) > 0 {
		g.Stays = &r.seen[r.first(same)].witness
	}
	g.explain(changed, tell)
	return g
}

// leave takes into account what becomes of calls before they arrive; nil: what became of
// them.
func (g *Group) leave(l *Left) {
	if l == nil {
		return
	}
	if g.Class = replay.Depends; l.All {
		g.Class = replay.Changed
	}
	g.Was, g.Now, g.Why, g.Decided, g.Changes, g.Stays = l.Was, l.Now, l.Why, l.Decided, l.Changes, l.Stays
}

// explain says why a request ends as it does after the change.
func (g *Group) explain(changed *shown, tell func(*ask.Request) (string, *ask.Origin)) {
	if request, err := changed.witness.Request(); err == nil {
		g.Why, g.Decided = tell(request)
	}
	if g.Why == "" {
		g.Why = changed.after.Why
	}
	if g.Decided == nil && len(changed.after.Because) > 0 {
		g.Decided = &changed.after.Because[0]
	}
	if g.Why == "" {
		g.Why = strings.TrimSpace("it ends as " + string(changed.after.Outcome) + " " + changed.after.Details)
	}
}

// of are the classes of requests that may be counted by a key. What a key leaves out may be
// anything.
func (r *Recount) of(k hits.Key) []seen {
	var out []seen
	add := func(all []seen) {
		for _, at := range all {
			if covers(k, at.key) && r.calls(k.Peer, at) {
				out = append(out, at)
			}
		}
	}
	switch {
	case k.Application == "":
		for of, all := range r.applications {
			if of.place == k.Place && (k.Namespace == "" || of.namespace == k.Namespace) {
				add(all)
			}
		}
	case k.Place == hits.Gateway:
		// What is refused before there is a route is nobody's where it is decided.
		add(r.applications[owner{place: k.Place}])
		add(r.applications[ownerOf(k)])
	default:
		add(r.applications[ownerOf(k)])
	}
	return out
}

// covers reports whether what is counted by a full key may be counted by another one. Of
// what somebody stated the statement decides, and not the number of the rule: one that was
// added gives the others other numbers.
func covers(k, full hits.Key) bool {
	alike := func(a, b string) bool { return a == "" || a == b }
	switch {
	case k.Place != full.Place || k.Verdict != full.Verdict:
		return false
	case k.Verdict == hits.Failed:
		return true
	case !alike(k.Route, full.Route) && !(full.Route == "" && k.Place == hits.Gateway):
		// A gateway that refuses before it looks for a route names none where it is decided.
		return false
	case !alike(k.Object, full.Object):
		return false
	case k.Statement != "":
		return k.Statement == full.Statement && k.Field == full.Field
	}
	return k.Rule < 0 || k.Rule == full.Rule
}

// calls reports whether a peer may be among the clients of a class.
func (r *Recount) calls(peer string, at seen) bool {
	switch peer {
	case hits.Internet:
		return at.key.Place == hits.Gateway
	case hits.Other, attribution.UnknownPeer, "":
		return true
	case attribution.NoIdentity:
		return !at.mutual
	}
	if !at.mutual {
		return false
	}
	if s := r.seen[at]; s.named {
		return s.identity.Has(false, r.spiffe(peer))
	}
	return true
}

// spiffe is the identity of a peer: NAMESPACE/ACCOUNT, after its trust domain where that is
// not the mesh's.
func (r *Recount) spiffe(peer string) string {
	parts := strings.Split(peer, "/")
	domain := r.trustDomain
	if len(parts) == 3 {
		domain, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return peer
	}
	return model.Identity{TrustDomain: domain, Namespace: parts[0], ServiceAccount: parts[1]}.SPIFFE()
}

// unchanged reports whether a workload that the change leaves alone may have counted so.
func (r *Recount) unchanged(k hits.Key) bool {
	if k.Place == hits.Workload && k.Namespace == "" {
		return len(r.unchangedOf) > 0
	}
	return r.unchangedOf[ownerOf(k)]
}

// untouched reports whether it was decided by proxies alone that the change leaves alone.
func (r *Recount) untouched(k hits.Key) bool {
	if k.Place == hits.Gateway {
		// What it let through is decided by workloads, too.
		return k.Verdict != hits.Allowed && !r.gateways
	}
	return r.unchangedOf[ownerOf(k)] && !r.changedOf[ownerOf(k)]
}

// first is the one whose request needs the least.
func (r *Recount) first(all []seen) seen {
	return slices.MinFunc(all, func(a, b seen) int {
		if less(&r.seen[a].witness, &r.seen[b].witness) {
			return -1
		}
		return 1
	})
}

func outcomes(all []seen) (was, now string) {
	list := func(of func(seen) decide.Outcome) string {
		var out []string
		for _, at := range all {
			if text := string(of(at)); !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	return list(func(s seen) decide.Outcome { return s.was }), list(func(s seen) decide.Outcome { return s.now })
}
