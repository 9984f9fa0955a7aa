// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"slices"
	"sync"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Frozen reports whether what was made for these owners is to be left as it is.
type Frozen func(owners []model.Reference) bool

// Kept reports whether an object is not to be pruned although it does not follow
// any more: its owner is there, and what it is about cannot be told. To lose a
// Service for a moment must neither open the workload behind it nor take names and
// certificates away.
type Kept func(object, owner model.Reference) bool

// Conflict is a generated object that cannot be written, because an object of
// the same name exists that Trellis did not make.
type Conflict struct {
	Object compile.Packed
	// Managers are who manages the object that is there, the latest first.
	Managers []Manager
}

// Edit is a difference that somebody else made to a generated object.
type Edit struct {
	Ref    model.Reference
	Owners []model.Reference
	// Managers are who made it, the latest first, as far as known.
	Managers []Manager
	// Deleted is true when the object was taken away.
	Deleted bool
	// Fields are the paths that differed, at most eight.
	Fields []string
}

// write is one object to create or to update.
type write struct {
	Desired
	kind Kind
	// live is nil when the object does not exist.
	live *Live
	// edit is set when what is to be undone is somebody else's doing.
	edit *Edit
	// undo is true when nothing but that is to be done: what is wanted is what
	// was there before.
	undo bool
}

// Plan is what is to be done, in the order in which it is done. It is a value:
// making one writes nothing.
type Plan struct {
	claims   []write
	hosts    []write
	restrict []write
	allow    []write
	connect  []write
	route    []write
	unroute  []Live
	release  []Live

	// Conflicts are in the order of the desired objects.
	Conflicts []Conflict
	// Altered were written, and something on the way to storage (a mutating
	// webhook) made something else of them. Writing again would not help.
	Altered []Failure
	mu      sync.Mutex
	// single is true when the plan was made with one write alone.
	single bool
	// taken are the names that exist and are not ours.
	taken map[model.Reference]bool
}

// Empty reports whether there is nothing to write.
func (p *Plan) Empty() bool { return p.Writes() == 0 }

// Writes is how many objects are to be written.
func (p *Plan) Writes() int {
	return len(p.claims) + len(p.hosts) + len(p.restrict) + len(p.allow) + len(p.connect) + len(p.route) + len(p.unroute) + len(p.release)
}

// Compare makes a plan. Live must be the whole inventory of the generated kinds:
// what is ours there and not desired is pruned, unless it is frozen or kept.
func (l *Ledger) Compare(desired []Desired, live []Live, frozen Frozen, kept Kept) (*Plan, error) {
	there := make(map[model.Reference]*Live, len(live))
	plan := &Plan{taken: map[model.Reference]bool{}}
	for i := range live {
		there[live[i].Ref] = &live[i]
		if !live[i].Ours {
			plan.taken[live[i].Ref] = true
		}
	}
	wanted := make(map[model.Reference]bool, len(desired))
	for _, d := range desired {
		kind, ok := kindOf(d.Ref.Group, d.Ref.Kind)
		if !ok {
			return nil, fmt.Errorf("planning %s: its kind is not among those that are written", d.Ref)
		}
		wanted[d.Ref] = true
		if frozen(d.Owners) {
			continue
		}
		l.compareOne(plan, write{Desired: d, kind: kind, live: there[d.Ref]})
	}
	for i := range live {
		o := live[i]
		if !o.Ours || wanted[o.Ref] || o.Deleting || frozen([]model.Reference{o.Owner}) {
			continue
		}
		if !kept(o.Ref, o.Owner) {
			plan.remove(o)
		}
	}
	plan.sort()
	plan.single = plan.Writes() == 1
	l.forget(wanted, there)
	return plan, nil
}

// compareOne decides about one desired object.
func (l *Ledger) compareOne(plan *Plan, w write) {
	if w.kind.Role == RoleClaim {
		if w.live == nil {
			plan.claims = append(plan.claims, w)
		}
		return
	}
	switch {
	case w.live == nil:
		w.edit = l.missing(w)
	case !w.live.Ours:
		plan.Conflicts = append(plan.Conflicts, Conflict{w.Packed, w.live.Managers})
		return
	case w.live.Deleting:
		// Its name is taken until its finalizers are done; the event of its end
		// brings us back.
		return
	case w.live.Digest == w.Digest:
		l.confirm(w.Ref, w.Digest)
		return
	case l.altered(w.Ref, w.Digest, w.live.Digest):
		plan.Altered = append(plan.Altered, alteredFailure(w.Packed))
		return
	default:
		w.edit, w.undo = l.edited(w)
	}
	plan.add(w)
}

func (p *Plan) add(w write) {
	switch {
	case w.kind.Role == RoleRoute:
		p.route = append(p.route, w)
	case w.kind.Role == RoleHost:
		p.hosts = append(p.hosts, w)
	case w.kind.Role == RoleConnection:
		p.connect = append(p.connect, w)
	case w.opens:
		p.allow = append(p.allow, w)
	default:
		p.restrict = append(p.restrict, w)
	}
}

func (p *Plan) remove(o Live) {
	kind, ok := kindOf(o.Ref.Group, o.Ref.Kind)
	switch {
	case !ok || kind.Role == RoleClaim:
	case kind.Role == RoleRoute:
		p.unroute = append(p.unroute, o)
	default:
		p.release = append(p.release, o)
	}
}

func (p *Plan) sort() {
	byRef := func(a, b Live) int { return a.Ref.Compare(b.Ref) }
	slices.SortFunc(p.unroute, byRef)
	slices.SortFunc(p.release, byRef)
}
