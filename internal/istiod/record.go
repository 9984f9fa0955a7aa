// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"crypto/sha256"
	"time"

	"github.com/trellis-mesh/trellis/internal/model"
)

const (
	// settle is how long after a dump was taken nothing of its push can still be
	// on its way to a proxy. istiod moves a proxy to a new push just before it
	// sends, so a dump can be some milliseconds ahead of what was sent.
	settle = 2 * time.Second
	// patience is how long a proxy may take before waiting is called Stale.
	patience = 30 * time.Second
	// again is how soon a proxy with something missing is looked at again when
	// istiod has sent it nothing since.
	again = 2 * time.Second
	// freshen is how soon a proxy with nothing missing is looked at again after
	// istiod has sent it something: others can break what we wrote.
	freshen = 30 * time.Second
	// clockSlack is by how much istiod's clock may be behind the operator's.
	clockSlack = 2 * time.Second
)

// proxyRecord is what has been learned of one workload's proxy.
type proxyRecord struct {
	// seen is what the last dump showed of each object.
	seen map[model.Reference]sighting
	// confirmed is the spec of each object that the proxy has acknowledged.
	confirmed map[model.Reference][sha256.Size]byte
	// dumped is when the last dump was taken; dumpedSent when istiod had then
	// last sent something, by its own clock.
	dumped     time.Time
	dumpedSent time.Time
	dumpedFrom connection
	// lagging is since when the proxy has not acknowledged something.
	lagging time.Time
}

// connection is a proxy's connection to a replica.
type connection struct{ replica, node string }

// sighting is what one dump showed of one object.
type sighting struct {
	key    [sha256.Size]byte
	like   likeness
	what   string
	at     time.Time
	pushed time.Time
}

func newProxyRecord() *proxyRecord {
	return &proxyRecord{
		seen:      map[model.Reference]sighting{},
		confirmed: map[model.Reference][sha256.Size]byte{},
	}
}

// has tells whether the proxy has acknowledged the object as it is now.
func (r *proxyRecord) has(object *recogniser) bool { return r.confirmed[object.ref] == object.key }

// missing counts the objects that have not been acknowledged.
func (r *proxyRecord) missing(p *proxyPlan) int {
	n := 0
	for _, object := range p.objects {
		if !r.has(object) {
			n++
		}
	}
	return n
}

// due tells whether a dump would show something new, and whether somebody is
// waiting for it.
func (r *proxyRecord) due(p *proxyPlan, c connection, state proxyState, now time.Time) (due, urgent bool) {
	age, sent := now.Sub(r.dumped), !state.newest().Equal(r.dumpedSent)
	switch {
	case r.dumped.IsZero():
		return true, true
	case r.missing(p) > 0:
		return sent || age >= again || r.anyUnseen(p), true
	case c != r.dumpedFrom:
		return true, false
	}
	return sent && age >= freshen, false
}

// anyUnseen tells whether an object was written after the last dump.
func (r *proxyRecord) anyUnseen(p *proxyPlan) bool {
	for ref, object := range p.objects {
		if r.seen[ref].key != object.key {
			return true
		}
	}
	return false
}

// look takes in a dump. What it shows otherwise than before is no longer taken
// for acknowledged.
func (r *proxyRecord) look(p *proxyPlan, c connection, state proxyState, x *dumpIndex, now time.Time) {
	r.dumped, r.dumpedSent, r.dumpedFrom = now, state.newest(), c
	r.prune(p)
	for ref, object := range p.objects {
		like, what := object.find(x)
		was := r.seen[ref]
		if was.key == object.key && was.like == like && (like == alike || was.pushed.Equal(x.pushed)) {
			continue // the first sighting says since when
		}
		r.seen[ref] = sighting{key: object.key, like: like, what: what, at: now, pushed: x.pushed}
		if like != alike {
			delete(r.confirmed, ref)
		}
	}
}

// prune forgets objects that are no longer followed.
func (r *proxyRecord) prune(p *proxyPlan) {
	for ref := range r.seen {
		if p.objects[ref] == nil {
			delete(r.seen, ref)
			delete(r.confirmed, ref)
		}
	}
}

// confirm takes in what istiod says at a moment about acknowledgements.
func (r *proxyRecord) confirm(p *proxyPlan, state proxyState, now time.Time, written func(model.Reference) time.Time) {
	r.trackLag(state, now)
	for ref, object := range p.objects {
		saw := r.seen[ref]
		if r.has(object) || saw.key != object.key {
			continue
		}
		if saw.like == alike && acknowledged(object, saw, state, now) {
			r.confirmed[ref] = object.key
			continue
		}
		// Another version of Istio may write an object in a form that is not
		// recognised. It is taken for ours when the push is later than the write
		// and istiod has had the time for every push that the write can cause.
		wrote := written(ref)
		if saw.like == different && !saw.pushed.Before(wrote.Add(-clockSlack)) && now.Sub(wrote) > patience/2 &&
			acknowledged(object, saw, state, now) {
			r.confirmed[ref] = object.key
		}
	}
}

// acknowledged tells whether every type that carries the object has been
// acknowledged in what was sent since the push in which the object was seen, or
// long enough after it.
func acknowledged(object *recogniser, saw sighting, state proxyState, now time.Time) bool {
	for _, t := range object.types {
		s := state.types[t]
		if !s.acked || s.problem != "" {
			return false
		}
		if s.sent.Before(saw.pushed) && now.Sub(saw.at) < settle {
			return false
		}
	}
	return true
}

func (r *proxyRecord) trackLag(state proxyState, now time.Time) {
	for _, t := range []resourceType{listeners, routes, clusters} {
		if s, ok := state.types[t]; ok && !s.acked && !s.sent.IsZero() {
			if r.lagging.IsZero() {
				r.lagging = now
			}
			return
		}
	}
	r.lagging = time.Time{}
}
