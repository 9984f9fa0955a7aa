// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"slices"
	"strings"
)

// Policy says what may be done to record sets that are ours.
type Policy string

// The policies. Whatever the policy, what is not ours is not touched.
const (
	PolicySync       Policy = "Sync"
	PolicyUpsertOnly Policy = "UpsertOnly"
	PolicyCreateOnly Policy = "CreateOnly"
)

// Wanted is what one ManagedRecord wants at its name.
type Wanted struct {
	// Resource is "namespace/name" of the ManagedRecord.
	Resource string
	Name     Name
	// Identifier as in Key.
	Identifier string
	// Sets are what is to be there; none withdraws whatever is ours.
	Sets []RecordSet
	// Target is instead of Sets, for who does not know the zone: the Engine asks
	// the Provider for the sets, with this TTL in seconds.
	Target *Target
	TTL    uint32
	// Routing is what the sets of a Target get; it needs an Identifier.
	Routing *Routing
	// Flattened says that the provider answers a CNAME at this name with addresses,
	// so that other types than those may stand beside it. The Engine finds out.
	Flattened bool
	// Known are the sets as this resource last wrote them. They prove what is ours
	// where a mark was lost.
	Known  []RecordSet
	Policy Policy
	// Adopt takes over what somebody else owns, or nobody.
	Adopt bool
	// Hold keeps whatever is ours as it is, for while a load balancer has no
	// address: names that led somewhere go on doing so.
	Hold bool
	// DryRun plans, and writes nothing.
	DryRun bool
	// Retain leaves data in place when it is withdrawn, and takes the mark away.
	Retain bool
	// Shared is for TXT values beside those of others (ACME's challenges): values
	// are added and taken away one by one, and nobody owns the set.
	Shared bool
}

// Conflict is a record set in the way that is not ours.
type Conflict struct {
	At Key
	// There is its text.
	There string
	// Owner is who has it, for people.
	Owner string
	// Rival is the resource of this cluster that has it, where there is one.
	Rival string
}

func (c Conflict) Error() string {
	return fmt.Sprintf("%s belongs to %s, so it is not touched", c.There, c.Owner)
}

// Step is one line of a plan.
type Step struct {
	// Verb is create, update, delete, mark, unmark, adopt or keep; keep is what the
	// policy or Hold forbids to do.
	Verb string
	At   Key
	Text string
}

// Plan is what is to be done at one name. It is a value; nothing is written by
// making it.
type Plan struct {
	Wanted Wanted
	// Change is nil where there is nothing to do, or a conflict.
	Change    *Change
	Steps     []Step
	Conflicts []Conflict
	// Owned are the sets that are ours once the change is done.
	Owned []RecordSet
	// Had is how many record sets were this resource's before.
	Had int
}

// Lookup is the names that must be read before a plan can be made.
func (w Wanted) Lookup() ([]Name, error) {
	if err := w.checkName(); err != nil {
		return nil, err
	}
	names := []Name{w.Name}
	if w.Shared {
		return names, nil
	}
	for _, id := range w.identifiers() {
		for _, t := range Types() {
			n, err := MarkName(Key{w.Name, t, id})
			if err != nil {
				return nil, err
			}
			names = append(names, n)
			if w.Adopt {
				names = append(names, ForeignMarks(Key{w.Name, t, id})...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// identifiers are those that the resource has, and had when it last wrote.
func (w Wanted) identifiers() []string {
	out := []string{w.Identifier}
	for _, k := range w.Known {
		if !slices.Contains(out, k.Identifier) {
			out = append(out, k.Identifier)
		}
	}
	return out
}

// Further is the names that must be read as well, given what is at those of
// Lookup: the marks of other members at the name, and where a mark of ours is
// gone, those of other tools.
func (w Wanted) Further(there []Observed) []Name {
	if w.Shared {
		return nil
	}
	seen := map[Key]bool{}
	for _, o := range there {
		seen[o.Key] = true
	}
	had, known := w.identifiers(), map[Key]bool{}
	for _, k := range w.Known {
		known[k.Key] = true
	}
	var names []Name
	for _, o := range there {
		if o.Name != w.Name || !slices.Contains(Types(), o.Type) {
			continue
		}
		mark, err := MarkName(o.Key)
		switch {
		case err != nil:
			// An identifier that no mark of ours can be about.
		case !slices.Contains(had, o.Identifier):
			names = append(names, mark)
		case known[o.Key] && !seen[Key{Name: mark, Type: TypeTXT}]:
			names = append(names, ForeignMarks(o.Key)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// MakePlan compares what is wanted with what was observed at the names of
// Wanted.Lookup and Wanted.Further. Owner is the cluster's, as in Mark. The error is ErrInvalid:
// nothing that the zone could hold would make w come true.
func MakePlan(owner string, w Wanted, there []Observed) (*Plan, error) {
	return makePlan(owner, nil, w, there)
}

func makePlan(owner string, lives func(string, Name) bool, w Wanted, there []Observed) (*Plan, error) {
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("planning %s for %s: %w", w.Name, w.Resource, err)
	}
	if w.Policy == "" {
		w.Policy = PolicySync
	}
	p := &planner{owner: owner, lives: lives, w: w, there: map[Key]Observed{}, plan: &Plan{Wanted: w}}
	for _, o := range there {
		p.there[o.Key] = o
	}
	change := &Change{Name: w.Name}
	if w.Shared {
		p.share(change)
	} else if err := p.own(change); err != nil {
		return nil, fmt.Errorf("planning %s for %s: %w", w.Name, w.Resource, err)
	}
	if len(p.plan.Conflicts) == 0 && len(change.Delete)+len(change.Create) > 0 {
		p.plan.Change = change
	}
	return p.plan, nil
}

// check refuses what contradicts itself.
func (w Wanted) check() error {
	if err := w.checkName(); err != nil {
		return err
	}
	if !validIdentifier(w.Identifier) {
		return fmt.Errorf("%w: the identifier %q is no label in lower case", ErrInvalid, w.Identifier)
	}
	if w.Target != nil && len(w.Sets) == 0 && !w.Hold {
		// Nothing would be there, which is to withdraw: nobody said that.
		return fmt.Errorf("%w: its target leads nowhere", ErrInvalid)
	}
	if w.Routing != nil && (w.Identifier == "" || (w.Routing.Weight == nil) == (w.Routing.Location == nil)) {
		return fmt.Errorf("%w: its routing needs an identifier, and a weight or a place", ErrInvalid)
	}
	return w.checkSets()
}

func (w Wanted) checkName() error {
	if name, err := ParseName(string(w.Name)); err != nil || name != w.Name {
		return fmt.Errorf("%w: %q is no domain name in canonical form", ErrInvalid, w.Name)
	}
	if w.Name.Starred() {
		return fmt.Errorf("%w: the asterisk in %q is no wildcard (RFC 4592): that is the whole of the first label", ErrInvalid, w.Name)
	}
	return nil
}

func (w Wanted) checkSets() error {
	seen := map[Key]bool{}
	for _, s := range w.Sets {
		switch {
		case s.Name != w.Name || s.Identifier != w.Identifier || seen[s.Key] || !slices.Contains(Types(), s.Type):
			return fmt.Errorf("%w: %s is not one of its record sets", ErrInvalid, s.Key)
		case w.Shared && s.Type != TypeTXT:
			return fmt.Errorf("%w: %s cannot be shared, only TXT can", ErrInvalid, s.Key)
		case len(s.Values) == 0 && s.Alias == nil:
			return fmt.Errorf("%w: %s has no values", ErrInvalid, s.Key)
		}
		seen[s.Key] = true
	}
	if cname := (Key{w.Name, TypeCNAME, w.Identifier}); seen[cname] && len(seen) > 1 {
		return fmt.Errorf("%w: a CNAME is alone at its name (RFC 1034 §3.6.2), and %s wants %d types", ErrInvalid, w.Name, len(seen))
	}
	return nil
}

// validIdentifier: empty, or a label that stays the same in a mark's name.
func validIdentifier(s string) bool {
	return s == "" || checkName(s) == nil && !strings.Contains(s, ".")
}
