// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// account is what an Engine remembers of one provider account.
type account struct {
	mu sync.Mutex

	zones   []Zone
	zonesAt time.Time

	// until and blocked are set while the provider refuses everything.
	until    time.Time
	blocked  error
	failures int

	tokens   float64
	filledAt time.Time

	memory map[wish]*memo
	// approved are steps of mass changes that somebody confirmed. A change that
	// stops half way goes on without being asked about again.
	approved map[string]bool
}

// memo is what is remembered of a wish.
type memo struct {
	digest   string
	seen     time.Time
	outcome  Outcome
	failures int
	// had is how many record sets are ours, and hurt how many of them a mass change
	// that waits for somebody's word would delete or change.
	had, hurt int
}

// forget drops wishes that nobody has had for a day.
func (a *account) forget(now time.Time) {
	for k, m := range a.memory {
		if now.Sub(m.seen) > 24*time.Hour {
			delete(a.memory, k)
		}
	}
}

// mistrust lets the zones be listed again.
func (a *account) mistrust() { a.zonesAt = time.Time{} }

const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 15 * time.Minute
)

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration {
	d := firstBackoff
	for range failures - 1 {
		if d *= 2; d >= lastBackoff {
			return lastBackoff
		}
	}
	return d
}

// spread is three to five quarters of d, always the same for one digest, so that
// what was learnt at once is not asked again at once.
func spread(d time.Duration, digest string) time.Duration {
	n, err := strconv.ParseUint(digest[:4], 16, 16)
	if err != nil {
		return d
	}
	return d*3/4 + time.Duration(float64(d/2)*float64(n)/65536)
}

// call asks for leave to call the provider, and keeps what its answer says about
// the account as a whole.
func (r *run) call(ctx context.Context, f func() error) error {
	a := r.account
	if r.now.Before(a.until) {
		return a.blocked
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if wait := r.token(); wait > 0 {
		return &ThrottledError{After: wait.Round(time.Millisecond), Said: "its share of requests is used up for now"}
	}
	err := f()
	var throttled *ThrottledError
	switch {
	case errors.As(err, &throttled), errors.Is(err, ErrCredentials):
		a.failures++
		wait := backoff(a.failures)
		if throttled != nil {
			wait = max(wait, throttled.After)
		}
		a.until, a.blocked = r.now.Add(wait), err
	default:
		// Another failure says nothing about credentials.
		if err == nil {
			a.failures, a.until, a.blocked = 0, time.Time{}, nil
		}
	}
	return err
}

// token takes one from the bucket, or says how long to wait for the next.
func (r *run) token() time.Duration {
	if r.o.Rate <= 0 {
		return 0
	}
	a, burst := r.account, max(1, float64(r.o.Burst))
	if a.filledAt.IsZero() {
		a.tokens = burst
	} else {
		a.tokens = min(burst, a.tokens+r.o.Rate*max(0, r.now.Sub(a.filledAt).Seconds()))
	}
	a.filledAt = r.now
	if a.tokens < 1 {
		return time.Duration((1 - a.tokens) / r.o.Rate * float64(time.Second))
	}
	a.tokens--
	return 0
}

// zonePart is the wishes that belong to one zone.
type zonePart struct {
	zone   Zone
	wishes []int
}

// byZone finds the zone of each wish, and fails those that have none.
func (r *run) byZone(ctx context.Context, wishes []int) []zonePart {
	if err := r.listZones(ctx, trustZones); err != nil {
		r.failAll(wishes, err)
		return nil
	}
	missing := slices.ContainsFunc(wishes, func(i int) bool { return len(r.match(r.wanted[i].Name)) == 0 })
	if missing {
		if err := r.listZones(ctx, askZones); err != nil {
			r.failAll(wishes, err)
			return nil
		}
	}
	parts := map[string]*zonePart{}
	for _, i := range wishes {
		zones := r.match(r.wanted[i].Name)
		switch len(zones) {
		case 0:
			r.fail(i, fmt.Errorf("finding the zone of %s: %w: the account has %s", r.wanted[i].Name, ErrNoZone, r.describeZones()))
		case 1:
			z := zones[0]
			if !r.point(i, z) {
				continue
			}
			if parts[z.ID] == nil {
				parts[z.ID] = &zonePart{zone: z}
			}
			parts[z.ID].wishes = append(parts[z.ID].wishes, i)
			r.out[i].Zone = z
		default:
			r.fail(i, fmt.Errorf("finding the zone of %s: %w: %s has the ids %s; say which", r.wanted[i].Name, errAmbiguousZone, zones[0].Name, ids(zones)))
		}
	}
	var out []zonePart
	for _, p := range parts {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b zonePart) int { return cmp.Compare(a.zone.ID, b.zone.ID) })
	return out
}

// point finds the sets of a target now that the zone is known, and fails the wish
// where there are none.
func (r *run) point(i int, z Zone) bool {
	w := &r.wanted[i]
	w.Flattened = w.Name == z.Name && r.p.Capabilities().FlattensApex
	if w.Target == nil || w.Hold {
		return true
	}
	sets, err := r.pointTo(z, *w)
	if err == nil && len(sets) == 0 {
		err = fmt.Errorf("pointing %s: %w: its target leads nowhere", w.Name, ErrInvalid)
	}
	if err != nil {
		r.out[i].Zone = z
		r.fail(i, err)
		return false
	}
	w.Sets = sets
	return true
}

// pointTo asks the provider for the sets of a target, and gives them the wish's
// routing.
func (r *run) pointTo(z Zone, w Wanted) ([]RecordSet, error) {
	if can := r.p.Capabilities(); w.Routing != nil {
		switch {
		case w.Routing.Weight != nil && !can.Weights:
			return nil, fmt.Errorf("pointing %s: %w: routing by weight", w.Name, ErrUnsupported)
		case w.Routing.Location != nil && !can.Locations:
			return nil, fmt.Errorf("pointing %s: %w: routing by the place of clients", w.Name, ErrUnsupported)
		}
	}
	sets, err := r.p.Point(z, w.Name, w.Identifier, w.TTL, *w.Target)
	for i := range sets {
		sets[i].Routing = w.Routing
	}
	return sets, err
}

// Zones are those of the account that may be used, as they were seen in the last
// ten minutes, and otherwise by asking. It keeps to what the provider said about
// being left alone, as Reconcile does. In order of names and ids.
func (e *Engine) Zones(ctx context.Context, p Provider, o Options) ([]Zone, error) {
	a := e.account(o.Account)
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &run{Engine: e, account: a, p: p, o: o, now: e.Clock()}
	if err := r.listZones(ctx, trustZones); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(slices.Clone(a.zones), func(z Zone) bool { return !r.usable(z) })
	slices.SortFunc(out, func(a, b Zone) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// usable reports whether the options allow a zone.
func (r *run) usable(z Zone) bool {
	return z.Private == r.o.Private && (len(r.o.Zones) == 0 || slices.Contains(r.o.Zones, z.ID))
}

// listZones asks for the zones unless the list is younger than that.
func (r *run) listZones(ctx context.Context, trust time.Duration) error {
	a := r.account
	if !a.zonesAt.IsZero() && r.now.Sub(a.zonesAt) < trust {
		return nil
	}
	return r.call(ctx, func() error {
		zones, err := r.p.Zones(ctx)
		if err == nil {
			a.zones, a.zonesAt = zones, r.now
		}
		return err
	})
}

// match is the usable zones with the longest name that n is in.
func (r *run) match(n Name) []Zone {
	var out []Zone
	for _, z := range r.account.zones {
		if !r.usable(z) || !n.In(z.Name) {
			continue
		}
		if len(out) > 0 && len(z.Name) < len(out[0].Name) {
			continue
		}
		if len(out) > 0 && len(z.Name) > len(out[0].Name) {
			out = nil
		}
		out = append(out, z)
	}
	return out
}

// describeZones is what the account has, for somebody who looks for another.
func (r *run) describeZones() string {
	var names []string
	for _, z := range r.account.zones {
		name := string(z.Name)
		if z.Private {
			name += " (private)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	const shown = 5
	switch {
	case len(names) == 0:
		return "no zones"
	case len(names) > shown:
		return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", len(names)-shown)
	}
	return strings.Join(names, ", ")
}

func ids(zones []Zone) string {
	var out []string
	for _, z := range zones {
		out = append(out, z.ID)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
