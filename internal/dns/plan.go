// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
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
	// Known are the sets as this resource last wrote them. They prove what is ours
	// where a mark was lost.
	Known  []RecordSet
	Policy Policy
	// Adopt takes over what somebody else owns, or nobody.
	Adopt bool
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
}

func (c Conflict) Error() string {
	return fmt.Sprintf("%s belongs to %s, so it is not touched", c.There, c.Owner)
}

// Step is one line of a plan.
type Step struct {
	// Verb is create, update, delete, mark, unmark, adopt or keep; keep is what the
	// policy forbids to do.
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
}

// Lookup is the names that must be read before a plan can be made.
func (w Wanted) Lookup() ([]Name, error) {
	names := []Name{w.Name}
	if w.Shared {
		return names, nil
	}
	for _, t := range Types() {
		n, err := MarkName(Key{w.Name, t, w.Identifier})
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

// planner makes one plan.
type planner struct {
	owner string
	w     Wanted
	there map[Key]Observed
	plan  *Plan
}

// MakePlan compares what is wanted with what was observed at the names of
// Wanted.Lookup. Owner is the cluster's, as in Mark.
func MakePlan(owner string, w Wanted, there []Observed) (*Plan, error) {
	w.Policy = cmp.Or(w.Policy, PolicySync)
	p := &planner{owner: owner, w: w, there: map[Key]Observed{}, plan: &Plan{Wanted: w}}
	for _, o := range there {
		p.there[o.Key] = o
	}
	change := &Change{Name: w.Name}
	if w.Shared {
		p.share(change)
	} else if err := p.own(change); err != nil {
		return nil, err
	}
	if len(p.plan.Conflicts) == 0 && len(change.Delete)+len(change.Create) > 0 {
		p.plan.Change = change
	}
	return p.plan, nil
}

// own plans every key at the name that is wanted or ours.
func (p *planner) own(change *Change) error {
	wanted := map[Key]*RecordSet{}
	keys := map[Key]bool{}
	for i := range p.w.Sets {
		s := &p.w.Sets[i]
		if s.Name != p.w.Name || s.Identifier != p.w.Identifier || wanted[s.Key] != nil {
			return fmt.Errorf("planning %s: %s is not one of its record sets", p.w.Name, s.Key)
		}
		wanted[s.Key], keys[s.Key] = s, true
	}
	for _, t := range Types() {
		keys[Key{p.w.Name, t, p.w.Identifier}] = true
	}
	for _, key := range sortedKeys(keys) {
		if err := p.ownOne(change, key, wanted[key]); err != nil {
			return err
		}
	}
	p.refuseNeighbours(change)
	return nil
}

// ownOne plans one key. Want is nil for what is not wanted there.
func (p *planner) ownOne(change *Change, key Key, want *RecordSet) error {
	markName, err := MarkName(key)
	if err != nil {
		return err
	}
	mark, marked := p.mark(markName)
	data, exists := p.there[key]
	ours := marked && mark.Owner == p.owner || exists && !marked && p.remembers(data.RecordSet)
	switch {
	case want == nil && !ours:
		return nil
	case want == nil:
		p.withdraw(change, key, markName)
		return nil
	case !ours && (exists || marked) && !p.w.Adopt:
		p.plan.Conflicts = append(p.plan.Conflicts, Conflict{At: key, There: there(data, key), Owner: describe(mark, marked)})
		return nil
	}
	p.plan.Owned = append(p.plan.Owned, *want)
	if exists && !data.Equal(*want) && p.w.Policy == PolicyCreateOnly && ours {
		p.step("keep", key, data.Text())
		p.plan.Owned[len(p.plan.Owned)-1] = data.RecordSet
		want = &data.RecordSet
	}
	if !ours && (exists || marked) {
		p.step("adopt", key, "from "+describe(mark, marked))
	}
	if err := p.putMark(change, key, markName); err != nil {
		return err
	}
	p.put(change, key, *want)
	return nil
}

// put makes the data what is wanted.
func (p *planner) put(change *Change, key Key, want RecordSet) {
	data, exists := p.there[key]
	switch {
	case !exists:
		p.step("create", key, want.Text())
	case data.Equal(want):
		return
	default:
		p.step("update", key, data.Text()+" becomes "+strings.Join(append(slices.Clone(want.Values), aliasText(want)...), ", "))
		change.Delete = append(change.Delete, data)
	}
	change.Create = append(change.Create, want)
}

// putMark makes the mark ours. It comes before the data among what is created.
func (p *planner) putMark(change *Change, key Key, at Name) error {
	want, err := Mark{Owner: p.owner, Resource: p.w.Resource}.Set(key)
	if err != nil {
		return err
	}
	old, exists := p.there[Key{Name: at, Type: TypeTXT}]
	if exists && slices.Equal(old.Values, want.Values) {
		return nil
	}
	if exists {
		change.Delete = append(change.Delete, old)
	} else if _, data := p.there[key]; data {
		p.step("mark", key, "as ours")
	}
	change.Create = append(change.Create, want)
	return nil
}

// withdraw takes away what is ours and not wanted: the data before its mark.
func (p *planner) withdraw(change *Change, key Key, at Name) {
	data, exists := p.there[key]
	mark, marked := p.there[Key{Name: at, Type: TypeTXT}]
	switch {
	case exists && p.w.Policy != PolicySync && !p.w.Retain:
		p.step("keep", key, data.Text())
		p.plan.Owned = append(p.plan.Owned, data.RecordSet)
		return
	case exists && p.w.Retain:
		p.step("unmark", key, "and leave "+data.Text())
	case exists:
		p.step("delete", key, data.Text())
		change.Delete = append(change.Delete, data)
	}
	if marked {
		change.Delete = append(change.Delete, mark)
	}
}

// refuseNeighbours finds what cannot stand beside what is wanted: a CNAME is
// alone at its name (RFC 1034 §3.6.2), and a routed group has no simple set.
func (p *planner) refuseNeighbours(change *Change) {
	if len(p.w.Sets) == 0 {
		return
	}
	cname := slices.ContainsFunc(p.w.Sets, func(s RecordSet) bool { return s.Type == TypeCNAME })
	goes := map[Key]bool{}
	for _, d := range change.Delete {
		goes[d.Key] = true
	}
	for _, key := range sortedKeys(p.there) {
		if key.Name != p.w.Name || goes[key] || p.wants(key) {
			continue
		}
		clash := cname && key.Type != TypeCNAME || !cname && key.Type == TypeCNAME
		clash = clash || slices.ContainsFunc(p.w.Sets, func(s RecordSet) bool {
			return s.Type == key.Type && (s.Identifier == "") != (key.Identifier == "")
		})
		// Members of one group may be of one type each; a CNAME group has many.
		if cname && key.Type == TypeCNAME && key.Identifier != "" && p.w.Identifier != "" {
			clash = false
		}
		if clash {
			p.plan.Conflicts = append(p.plan.Conflicts, Conflict{At: key, There: there(p.there[key], key), Owner: describe(Mark{}, false)})
		}
	}
}

func (p *planner) wants(key Key) bool {
	return slices.ContainsFunc(p.w.Sets, func(s RecordSet) bool { return s.Key == key })
}

// share adds the values of a shared set to what is there, or takes the known
// ones away.
func (p *planner) share(change *Change) {
	key := Key{Name: p.w.Name, Type: TypeTXT}
	data, exists := p.there[key]
	var ours []string
	for _, s := range p.w.Sets {
		ours = append(ours, s.Values...)
		p.plan.Owned = append(p.plan.Owned, s)
	}
	next := data.RecordSet
	next.Key = key
	next.Values = slices.DeleteFunc(slices.Clone(data.Values), func(v string) bool { return p.knows(v) })
	next.Values = append(next.Values, ours...)
	slices.Sort(next.Values)
	next.Values = slices.Compact(next.Values)
	if len(p.w.Sets) > 0 && !exists {
		next.TTL = p.w.Sets[0].TTL
	}
	switch {
	case slices.Equal(next.Values, data.Values):
		return
	case len(next.Values) == 0:
		p.step("delete", key, data.Text())
	case exists:
		p.step("update", key, data.Text()+" becomes "+strings.Join(next.Values, ", "))
	default:
		p.step("create", key, next.Text())
	}
	if exists {
		change.Delete = append(change.Delete, data)
	}
	if len(next.Values) > 0 {
		change.Create = append(change.Create, next)
	}
}

func (p *planner) knows(value string) bool {
	return slices.ContainsFunc(p.w.Known, func(s RecordSet) bool { return slices.Contains(s.Values, value) })
}

func (p *planner) remembers(data RecordSet) bool {
	return slices.ContainsFunc(p.w.Known, data.Equal)
}

func (p *planner) mark(at Name) (Mark, bool) {
	for _, text := range p.there[Key{Name: at, Type: TypeTXT}].Values {
		if m, ok := parseMark(text); ok {
			return m, true
		}
	}
	return Mark{}, false
}

func (p *planner) step(verb string, at Key, text string) {
	p.plan.Steps = append(p.plan.Steps, Step{Verb: verb, At: at, Text: text})
}

func describe(m Mark, marked bool) string {
	if !marked {
		return "nobody that Trellis knows"
	}
	return fmt.Sprintf("Trellis in another cluster (owner id %s, ManagedRecord %s)", m.Owner, m.Resource)
}

func there(data Observed, key Key) string {
	if data.Key == (Key{}) {
		return key.String() + " (its mark alone)"
	}
	return data.Text()
}

func aliasText(s RecordSet) []string {
	if s.Alias == nil {
		return nil
	}
	return []string{"alias of " + string(s.Alias.Target)}
}

func sortedKeys[V any](m map[Key]V) []Key {
	out := make([]Key, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, Key.Compare)
	return out
}
