// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
)

const (
	// settling is for how long after a change proxies may go by what was there before, or
	// send what they decided by it.
	settling = time.Minute
	// linger is how long what is gone is remembered.
	linger = 5 * time.Minute
	// mostPast bounds how much is remembered of one object.
	mostPast = 4
)

// past is something that was there before, and what came of it may still come. Forgotten:
// there was more than is remembered, and nothing is known of it.
type past[T any] struct {
	what      T
	forgotten bool
	until     time.Time
}

// history is what an Index knows of before.
type history struct {
	policies  map[model.Name][]past[*object]
	routes    map[string][]past[[]route]
	pods      map[accesslog.Writer]past[*workload]
	addresses map[netip.Addr]past[*workload]
	next      time.Time
}

// Follow makes an Index of a moment that knows of the moments before it, as far as proxies
// may still go by them: a rule that has got another number, or came to state something else, is
// RuleUnknown for a while rather than a guess, and what is gone is remembered. With
// nothing before it, it is New.
func Follow(last *Index, in Input, now time.Time) *Index {
	x := New(in)
	if last == nil {
		return x
	}
	x.past = history{
		policies: pastOf(last.policies, x.policies, last.past.policies, now, func(a, b *object) bool { return a.same(b) }),
		routes:   pastOf(last.routes, x.routes, last.past.routes, now, func(a, b []route) bool { return slices.EqualFunc(a, b, route.same) }),
		pods:     goneOf(last.pods, x.pods, last.past.pods, now), addresses: goneOf(last.addresses, x.addresses, last.past.addresses, now),
	}
	for key, w := range x.alike {
		if before := last.alike[key]; before != nil {
			for i, all := range w.wholes() {
				all.follow(before.wholes()[i], now)
			}
		}
	}
	x.past.next = x.due()
	return x
}

// Due is when an Index of the same moment's mesh would know more, since what was before
// matters no longer; zero: never.
func (x *Index) Due() time.Time { return x.past.next }

// pastOf is what is remembered of things by name.
func pastOf[K comparable, T any](before, after map[K]T, known map[K][]past[T], now time.Time, same func(a, b T) bool) map[K][]past[T] {
	out := map[K][]past[T]{}
	for name, list := range known {
		if list = fresh(list, now); len(list) > 0 {
			out[name] = list
		}
	}
	for name, was := range before {
		is, there := after[name]
		switch {
		case !there:
			out[name] = remember(out[name], was, now.Add(linger))
		case !same(was, is):
			out[name] = remember(out[name], was, now.Add(settling))
		}
	}
	return out
}

func fresh[T any](list []past[T], now time.Time) []past[T] {
	return slices.DeleteFunc(slices.Clone(list), func(p past[T]) bool { return !now.Before(p.until) })
}

// remember adds one. What changes too often is not known in full.
func remember[T any](list []past[T], was T, until time.Time) []past[T] {
	list = append(list, past[T]{what: was, until: until})
	if len(list) > mostPast {
		for _, p := range list[:2] {
			until = later(until, p.until)
		}
		list = append([]past[T]{{forgotten: true, until: until}}, list[2:]...)
	}
	return list
}

// goneOf is what has nothing in its place.
func goneOf[K comparable](before, after map[K]*workload, known map[K]past[*workload], now time.Time) map[K]past[*workload] {
	out := map[K]past[*workload]{}
	for key, p := range known {
		if after[key] == nil && now.Before(p.until) {
			out[key] = p
		}
	}
	for key, was := range before {
		if after[key] == nil {
			out[key] = past[*workload]{what: was, until: now.Add(linger)}
		}
	}
	return out
}

// due is the first end of anything that is remembered.
func (x *Index) due() time.Time {
	var out time.Time
	note := func(at time.Time) {
		if out.IsZero() || at.Before(out) {
			out = at
		}
	}
	for _, list := range x.past.policies {
		for _, p := range list {
			note(p.until)
		}
	}
	for _, list := range x.past.routes {
		for _, p := range list {
			note(p.until)
		}
	}
	for _, w := range x.alike {
		for _, all := range w.wholes() {
			for _, p := range all.past {
				note(p.until)
			}
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// pod is the workload of a pod that is there, or was.
func (x *Index) pod(w accesslog.Writer) *workload {
	if known := x.pods[w]; known != nil {
		return known
	}
	return x.past.pods[w].what
}

// at is the workload at an address, or which was there last.
func (x *Index) at(a netip.Addr) *workload {
	if known := x.addresses[a]; known != nil {
		return known
	}
	return x.past.addresses[a].what
}

// same reports whether two versions of an object decide about the same, by the same
// statements.
func (o *object) same(other *object) bool {
	return o.kind == other.kind && o.action == other.action && o.tried == other.tried && o.targeted == other.targeted &&
		maps.Equal(o.selector, other.selector) && slices.Equal(o.gateways, other.gateways) && slices.Equal(o.rules, other.rules)
}

func (r route) same(other route) bool {
	return r.key == other.key && slices.Equal(r.hosts, other.hosts)
}

// wholes are all of a workload, in an order that is always the same.
func (w *workload) wholes() []*whole {
	return []*whole{&w.byDefault, &w.wouldByDefault, &w.byToken, &w.byAuthorizer, &w.byMutualTLS, &w.byCalls}
}

// follow remembers what was stated before.
func (w *whole) follow(before *whole, now time.Time) {
	w.past = fresh(before.past, now)
	if before.key == w.key && before.why == w.why {
		return
	}
	was := *before
	was.past = nil
	w.past = remember(w.past, was, now.Add(settling))
}

// settled is what holds of all that may have decided: where they differ, what they have in
// common. What stated nothing decided nothing.
func (w *whole) settled() whole {
	out := *w
	for _, p := range w.past {
		switch was := p.what; {
		case p.forgotten:
			out.key, out.why = hits.Key{Namespace: w.key.Namespace, Application: w.key.Application, Place: w.key.Place, Rule: -1}, RuleUnknown
			return out
		case was.why == NoPolicy || was.key == out.key && was.why == out.why:
		case out.why == NoPolicy:
			out = was
		default:
			out.key, out.why, out.among = common(out.key, was.key), RuleUnknown, nil
		}
	}
	return out
}

// common is what two keys have in common.
func common(a, b hits.Key) hits.Key {
	theirs := b.Texts()
	for i, text := range a.Texts() {
		if *text != *theirs[i] {
			*text = ""
		}
	}
	if a.Rule != b.Rule {
		a.Rule = -1
	}
	return a
}
