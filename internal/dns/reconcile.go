// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// task is a wish on its way.
type task struct {
	i        int
	attempts int
	plan     *Plan
}

// zone makes the wishes of one zone come true. Each round reads, plans and
// writes; another follows for names that were raced for, and for names that have
// several wishes, since a plan is good for one change only.
func (r *run) zone(ctx context.Context, z Zone, wishes []int) {
	// Those that failed before go last: whatever breaks on them breaks only them.
	slices.SortStableFunc(wishes, func(a, b int) int { return r.failures(a) - r.failures(b) })
	var todo []*task
	for _, i := range wishes {
		todo = append(todo, &task{i: i})
	}
	// Withdrawing comes after wanting, so that a name goes from one resource to
	// another without a gap.
	slices.SortStableFunc(todo, func(a, b *task) int { return withdraws(r.wanted[a.i]) - withdraws(r.wanted[b.i]) })
	for len(todo) > 0 {
		now, later := r.oneEach(todo)
		now = r.plan(ctx, z, now)
		// It ends: each of now is settled, or has used up an attempt.
		todo = append(later, r.carryOut(ctx, z, r.guard(z, now))...)
	}
}

func (r *run) failures(i int) int {
	if m := r.account.memory[wishOf(r.wanted[i])]; m != nil {
		return m.failures
	}
	return 0
}

func withdraws(w Wanted) int {
	if len(w.Sets) == 0 && !w.Hold {
		return 1
	}
	return 0
}

// oneEach splits off the first wish of each name.
func (r *run) oneEach(todo []*task) (now, later []*task) {
	taken := map[Name]bool{}
	for _, t := range todo {
		if n := r.wanted[t.i].Name; taken[n] {
			later = append(later, t)
		} else {
			taken[n] = true
			now = append(now, t)
		}
	}
	return now, later
}

// plan reads what is there and plans; those that have something to do are left.
func (r *run) plan(ctx context.Context, z Zone, todo []*task) []*task {
	var names []Name
	todo = slices.DeleteFunc(todo, func(t *task) bool {
		lookup, err := r.wanted[t.i].Lookup()
		if err != nil {
			r.fail(t.i, err)
			return true
		}
		names = append(names, lookup...)
		return false
	})
	there, err := r.read(ctx, z, names)
	if err != nil {
		for _, t := range todo {
			r.fail(t.i, err)
		}
		return nil
	}
	further, err := r.read(ctx, z, r.further(z, todo, there))
	if err != nil {
		for _, t := range todo {
			r.fail(t.i, err)
		}
		return nil
	}
	var left, conflicting []*task
	for _, t := range todo {
		w := r.wanted[t.i]
		seen := readAt(there, w.lookup())
		seen = append(seen, readAt(further, w.Further(seen))...)
		p, err := makePlan(r.Owner, r.o.Lives, w, seen)
		switch {
		case err != nil:
			r.fail(t.i, err)
			continue
		case w.Name != z.Name && delegated(there[w.Name]) && len(w.Sets) > 0:
			p.Conflicts = append(p.Conflicts, Conflict{At: Key{Name: w.Name, Type: typeNS}, There: string(w.Name) + " NS", Owner: "the name servers that the name is delegated to"})
		}
		t.plan = p
		if len(p.Conflicts) > 0 {
			conflicting = append(conflicting, t)
		} else {
			left = append(left, t)
		}
	}
	r.nameOwners(ctx, z, conflicting)
	return left
}

// further is the names that the first look has given reason to look at.
func (r *run) further(z Zone, todo []*task, there map[Name][]Observed) []Name {
	var names []Name
	for _, t := range todo {
		w := r.wanted[t.i]
		for _, n := range w.Further(readAt(there, w.lookup())) {
			if n.In(z.Name) {
				names = append(names, n)
			}
		}
	}
	return names
}

// lookup is Lookup where it is known to have no error.
func (w Wanted) lookup() []Name {
	names, _ := w.Lookup()
	return names
}

// readAt is what was read at names.
func readAt(there map[Name][]Observed, names []Name) []Observed {
	var out []Observed
	for _, n := range names {
		out = append(out, there[n]...)
	}
	return out
}

const typeNS Type = "NS"

func delegated(there []Observed) bool {
	return slices.ContainsFunc(there, func(o Observed) bool { return o.Type == typeNS })
}

// read is what is at names, by name.
func (r *run) read(ctx context.Context, z Zone, names []Name) (map[Name][]Observed, error) {
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	out := map[Name][]Observed{}
	err := r.call(ctx, func() error {
		list, err := r.p.Read(ctx, z, slices.Compact(names))
		for _, o := range list {
			out[o.Name] = append(out[o.Name], o)
		}
		return err
	})
	if errors.Is(err, ErrNoZone) {
		r.account.mistrust()
	}
	return out, err
}

// nameOwners finds out from other tools' marks whose the records in the way are,
// and settles the wishes.
func (r *run) nameOwners(ctx context.Context, z Zone, conflicting []*task) {
	var names []Name
	for _, t := range conflicting {
		for _, c := range t.plan.Conflicts {
			for _, n := range ForeignMarks(c.At) {
				if c.Owner == nobody && n.In(z.Name) {
					names = append(names, n)
				}
			}
		}
	}
	// Without an answer the conflict is told without a name.
	there, _ := r.read(ctx, z, names)
	for _, t := range conflicting {
		for i := range t.plan.Conflicts {
			c := &t.plan.Conflicts[i]
			if c.Owner == nobody {
				c.Owner = ownerIn(there, c.At)
			}
		}
		o := &r.out[t.i]
		o.Conflicts = t.plan.Conflicts
		r.fail(t.i, fmt.Errorf("%w: %w", errConflict, t.plan.Conflicts[0]))
	}
}

func ownerIn(there map[Name][]Observed, at Key) string {
	for _, n := range ForeignMarks(at) {
		for _, o := range there[n] {
			for _, v := range o.Values {
				if owner, ok := foreignOwner(v); ok && o.Type == TypeTXT {
					return owner
				}
			}
		}
	}
	return nobody
}

// carryOut writes what is planned, and returns what must be planned again.
func (r *run) carryOut(ctx context.Context, z Zone, todo []*task) []*task {
	var writes []*task
	for _, t := range todo {
		o := &r.out[t.i]
		o.Steps = t.plan.Steps
		switch {
		case t.plan.Change == nil:
			r.done(t, PhaseDone)
		case r.o.DryRun || r.wanted[t.i].DryRun:
			r.done(t, PhasePlanned)
		default:
			writes = append(writes, t)
		}
	}
	var again []*task
	unavailable := 0
	for _, batch := range r.batches(writes) {
		if unavailable >= attempts {
			// Nobody answers: do not knock at every door.
			for _, t := range batch {
				r.fail(t.i, fmt.Errorf("writing %s: the DNS provider did not answer before", r.wanted[t.i].Name))
			}
			continue
		}
		stale, err := r.apply(ctx, z, batch)
		again = append(again, stale...)
		if unavailable++; err == nil || ClassOf(err) != ClassUnavailable {
			unavailable = 0
		}
	}
	return again
}

// done settles a wish that has come true, is held or was planned only.
func (r *run) done(t *task, phase Phase) {
	o := r.out[t.i]
	o.Phase, o.Owned, o.Steps = phase, t.plan.Owned, t.plan.Steps
	if phase == PhaseDone && r.wanted[t.i].Hold {
		o.Phase = PhaseHeld
	}
	if r.wanted[t.i].DryRun {
		// The plan says what would be ours.
		o.Owned = r.wanted[t.i].Known
	}
	r.settle(t.i, o)
}

// batches cuts writes by the provider's limits.
func (r *run) batches(writes []*task) [][]*task {
	c := r.p.Capabilities()
	var out [][]*task
	records, alone := 0, true
	for _, t := range writes {
		n := t.plan.Change.Records()
		last := len(out) - 1
		full := last >= 0 && c.MaxChanges > 0 && len(out[last]) >= c.MaxChanges || c.MaxRecords > 0 && records+n > c.MaxRecords
		// What failed before goes alone.
		failed := r.failures(t.i) > 0
		if alone || failed || full {
			out, records = append(out, nil), 0
			last = len(out) - 1
		}
		alone = failed || !c.Atomic
		out[last] = append(out[last], t)
		records += n
	}
	return out
}

// apply writes a batch. Where one of its changes may be the reason of a refusal,
// the batch is halved until that one is alone. It returns what is stale, and the
// last error.
func (r *run) apply(ctx context.Context, z Zone, batch []*task) (again []*task, err error) {
	var changes []Change
	for _, t := range batch {
		changes = append(changes, *t.plan.Change)
	}
	var receipt Receipt
	err = r.call(ctx, func() error {
		var err error
		receipt, err = r.p.Apply(ctx, z, changes)
		return err
	})
	divisible := errors.Is(err, ErrStale) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooLarge)
	switch {
	case err == nil:
		for _, t := range batch {
			r.out[t.i].Written, r.out[t.i].Receipt = true, receipt
			r.account.used(t.plan)
			r.done(t, PhaseDone)
		}
		return nil, nil
	case divisible && len(batch) > 1:
		first, err1 := r.apply(ctx, z, batch[:len(batch)/2])
		second, err2 := r.apply(ctx, z, batch[len(batch)/2:])
		return append(first, second...), errors.Join(err1, err2)
	case errors.Is(err, ErrStale) && batch[0].attempts < attempts-1:
		batch[0].attempts++
		return batch, err
	}
	if errors.Is(err, ErrNoZone) {
		r.account.mistrust()
	}
	for _, t := range batch {
		r.fail(t.i, err)
	}
	return nil, err
}
