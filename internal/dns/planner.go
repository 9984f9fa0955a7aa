// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// planner makes one plan.
type planner struct {
	owner string
	// lives as Options.Lives.
	lives func(resource string, name Name) bool
	w     Wanted
	there map[Key]Observed
	plan  *Plan
}

// holding is what is at a key, and whose.
type holding struct {
	key      Key
	data     Observed
	exists   bool
	mark     Mark
	marked   bool
	markSet  Observed
	markText bool // something is at the mark's name
}

// look finds what is at a key and at its mark.
func (p *planner) look(key Key) (holding, error) {
	at, err := MarkName(key)
	if err != nil {
		return holding{}, err
	}
	h := holding{key: key}
	h.data, h.exists = p.there[key]
	h.markSet, h.markText = p.there[Key{Name: at, Type: TypeTXT}]
	for _, text := range h.markSet.Values {
		if m, ok := parseMark(text); ok && !h.marked {
			h.mark, h.marked = m, true
		}
	}
	return h, nil
}

// ours reports whether what is at a key is the cluster's to write: its mark says
// so, and no other resource of the cluster goes on having it; or it is what we
// remember, its mark was lost, and nobody else has put one there.
func (p *planner) ours(h holding) bool {
	if h.marked {
		return h.mark.Owner == p.owner && !p.rival(h)
	}
	return h.exists && p.remembers(h.data.RecordSet) && p.foreign(h.key) == ""
}

// rival reports whether the mark names another resource of the cluster that lives.
func (p *planner) rival(h holding) bool {
	return h.mark.Owner == p.owner && h.mark.Resource != p.w.Resource && p.lives != nil && p.lives(h.mark.Resource, h.key.Name)
}

// foreign is who claims a key by another tool's mark; empty where nobody does, as
// far as was read.
func (p *planner) foreign(key Key) string {
	for _, name := range ForeignMarks(key) {
		for _, v := range p.there[Key{name, TypeTXT, key.Identifier}].Values {
			if owner, ok := foreignOwner(v); ok {
				return owner
			}
		}
	}
	return ""
}

// mine reports whether it is this resource's, too. Another resource of the
// cluster may have taken the name over: it is not this one's to withdraw.
func (p *planner) mine(h holding) bool {
	return p.ours(h) && (!h.marked || h.mark.Resource == p.w.Resource)
}

// own plans every key at the name that is wanted or ours.
func (p *planner) own(change *Change) error {
	var holdings []holding
	for _, key := range p.keys() {
		h, err := p.look(key)
		if err != nil {
			return err
		}
		holdings = append(holdings, h)
	}
	for _, h := range holdings {
		want := p.wanted(h.key)
		if h.exists && (p.mine(h) || want != nil && p.ours(h)) {
			p.plan.Had++
		}
		switch {
		case p.w.Hold:
			p.hold(h)
		case want != nil:
			if err := p.ownOne(change, h, *want); err != nil {
				return err
			}
		case p.mine(h):
			p.withdraw(change, h)
		}
	}
	if len(p.w.Sets) > 0 && !p.w.Hold {
		p.clear(change)
	}
	return nil
}

// keys are those that something of the resource's may be at: with its identifier,
// and with those of the other members at the name, since it may have had another
// one when it last wrote.
func (p *planner) keys() []Key {
	ids := p.w.identifiers()
	for _, key := range sortedKeys(p.there) {
		if _, err := MarkName(key); err == nil && key.Name == p.w.Name && !slices.Contains(ids, key.Identifier) {
			ids = append(ids, key.Identifier)
		}
	}
	var out []Key
	for _, id := range ids {
		for _, t := range Types() {
			out = append(out, Key{p.w.Name, t, id})
		}
	}
	return out
}

// hold leaves what is ours as it is.
func (p *planner) hold(h holding) {
	if h.exists && p.mine(h) {
		p.step("keep", h.key, h.data.Text())
		p.plan.Owned = append(p.plan.Owned, h.data.RecordSet)
	}
}

// ownOne plans a key that is wanted.
func (p *planner) ownOne(change *Change, h holding, want RecordSet) error {
	ours := p.ours(h)
	taken := h.exists || h.markText
	if !ours && taken && !p.w.Adopt {
		p.conflict(h)
		return nil
	}
	if !ours && taken {
		p.step("adopt", h.key, "from "+p.describe(h))
	}
	if p.w.Adopt {
		p.release(change, h.key)
	}
	if h.exists && ours && p.w.Policy == PolicyCreateOnly && !h.data.Equal(want) {
		p.step("keep", h.key, h.data.Text())
		want = h.data.RecordSet
	}
	p.plan.Owned = append(p.plan.Owned, want)
	if err := p.putMark(change, h); err != nil {
		return err
	}
	p.put(change, h, want)
	return nil
}

// release takes another tool's marks away from what is adopted: while they are
// there, that tool goes on writing what it takes for its own.
func (p *planner) release(change *Change, key Key) {
	for _, name := range ForeignMarks(key) {
		mark, ok := p.there[Key{name, TypeTXT, key.Identifier}]
		if !ok || len(mark.Values) == 0 || slices.ContainsFunc(change.Delete, func(d Observed) bool { return d.Key == mark.Key }) {
			continue
		}
		foreign := !slices.ContainsFunc(mark.Values, func(v string) bool { _, is := foreignOwner(v); return !is })
		if foreign && p.wanted(mark.Key) == nil {
			p.step("unmark", key, "and take away "+mark.Text())
			change.Delete = append(change.Delete, mark)
		}
	}
}

// put makes the data what is wanted.
func (p *planner) put(change *Change, h holding, want RecordSet) {
	switch {
	case !h.exists:
		p.step("create", h.key, want.Text())
	case h.data.Equal(want):
		return
	default:
		p.step("update", h.key, h.data.Text()+" becomes "+becomes(h.data.RecordSet, want))
		change.Delete = append(change.Delete, h.data)
	}
	change.Create = append(change.Create, want)
}

// becomes is what is new, for people.
func becomes(old, next RecordSet) string {
	var parts []string
	if !slices.Equal(old.Values, next.Values) || !reflect.DeepEqual(old.Alias, next.Alias) {
		parts = append(parts, next.what())
	}
	if old.TTL != next.TTL {
		parts = append(parts, fmt.Sprintf("TTL %d s instead of %d s", next.TTL, old.TTL))
	}
	if !reflect.DeepEqual(old.Routing, next.Routing) {
		parts = append(parts, next.Routing.String())
	}
	return strings.Join(parts, ", ")
}

// putMark makes the mark ours.
func (p *planner) putMark(change *Change, h holding) error {
	want, err := Mark{Owner: p.owner, Resource: p.w.Resource}.Set(h.key)
	if err != nil {
		return err
	}
	if h.markText && slices.Equal(h.markSet.Values, want.Values) {
		return nil
	}
	if h.markText {
		change.Delete = append(change.Delete, h.markSet)
	}
	if h.exists && p.ours(h) {
		p.step("mark", h.key, "as of "+p.w.Resource)
	}
	change.Create = append(change.Create, want)
	return nil
}

// withdraw takes away what is mine and not wanted, with its mark.
func (p *planner) withdraw(change *Change, h holding) {
	switch {
	case h.exists && p.w.Retain && h.markText:
		p.step("unmark", h.key, "and leave "+h.data.Text())
	case h.exists && p.w.Retain:
		return
	case h.exists && p.w.Policy != PolicySync:
		p.step("keep", h.key, h.data.Text())
		p.plan.Owned = append(p.plan.Owned, h.data.RecordSet)
		return
	case h.exists:
		p.step("delete", h.key, h.data.Text())
		change.Delete = append(change.Delete, h.data)
	default:
		p.step("unmark", h.key, "where nothing is any more")
	}
	if h.markText {
		change.Delete = append(change.Delete, h.markSet)
	}
}

// clear finds what cannot stand beside what is wanted: a CNAME is alone at its
// name (RFC 1034 §3.6.2), and a routed group has no simple set. It stays, as a
// conflict, unless it is an address that may be adopted.
func (p *planner) clear(change *Change) {
	goes := map[Key]bool{}
	for _, d := range change.Delete {
		goes[d.Key] = true
	}
	for _, key := range sortedKeys(p.there) {
		if key.Name != p.w.Name || goes[key] || p.wanted(key) != nil || !p.clashes(key) {
			continue
		}
		h, err := p.look(key)
		if err != nil {
			h = holding{key: key, data: p.there[key], exists: true}
		}
		replaceable := key.Identifier == "" && (key.Type == TypeA || key.Type == TypeAAAA || key.Type == TypeCNAME)
		if !p.w.Adopt || !replaceable || p.mine(h) {
			p.conflict(h)
			continue
		}
		p.step("adopt", key, "from "+p.describe(h)+", in place of "+h.data.Text())
		change.Delete = append(change.Delete, h.data)
		if h.markText {
			change.Delete = append(change.Delete, h.markSet)
		}
	}
}

func (p *planner) clashes(key Key) bool {
	cname := p.wanted(Key{p.w.Name, TypeCNAME, p.w.Identifier}) != nil
	if cname != (key.Type == TypeCNAME) {
		address := key.Type == TypeA || key.Type == TypeAAAA || slices.ContainsFunc(p.w.Sets, func(s RecordSet) bool { return s.Type == TypeA || s.Type == TypeAAAA })
		return address || !p.w.Flattened
	}
	return slices.ContainsFunc(p.w.Sets, func(s RecordSet) bool {
		return s.Type == key.Type && s.Key != key && !s.Routing.beside(p.there[key].Routing)
	})
}

func (p *planner) wanted(key Key) *RecordSet {
	for i := range p.w.Sets {
		if p.w.Sets[i].Key == key {
			return &p.w.Sets[i]
		}
	}
	return nil
}

// share adds the values of a shared set to what is there, or takes the known
// ones away.
func (p *planner) share(change *Change) {
	key := Key{Name: p.w.Name, Type: TypeTXT}
	data, exists := p.there[key]
	next := data.RecordSet
	next.Key = key
	next.Values = slices.DeleteFunc(slices.Clone(data.Values), p.knows)
	for _, s := range p.w.Sets {
		next.Values = append(next.Values, s.Values...)
		p.plan.Owned = append(p.plan.Owned, s)
	}
	slices.Sort(next.Values)
	next.Values = slices.Compact(next.Values)
	if len(p.w.Sets) > 0 && !exists {
		next.TTL = p.w.Sets[0].TTL
	}
	switch {
	case p.w.Hold, slices.Equal(next.Values, data.Values):
		return
	case p.aliased():
		return
	case len(next.Values) == 0:
		p.step("delete", key, data.Text())
	case exists:
		p.step("update", key, data.Text()+" becomes "+next.what())
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

// aliased finds the CNAME that keeps a shared text from standing at its name.
func (p *planner) aliased() bool {
	key := Key{Name: p.w.Name, Type: TypeCNAME}
	data, exists := p.there[key]
	exists = exists && !p.w.Flattened
	if exists && len(p.w.Sets) > 0 {
		p.conflict(holding{key: key, data: data, exists: true})
	}
	return exists
}

func (p *planner) knows(value string) bool {
	return slices.ContainsFunc(p.w.Known, func(s RecordSet) bool { return slices.Contains(s.Values, value) })
}

func (p *planner) remembers(data RecordSet) bool {
	return slices.ContainsFunc(p.w.Known, data.Equal)
}

func (p *planner) step(verb string, at Key, text string) {
	p.plan.Steps = append(p.plan.Steps, Step{Verb: verb, At: at, Text: text})
}

func (p *planner) conflict(h holding) {
	c := Conflict{At: h.key, There: h.data.Text(), Owner: p.describe(h)}
	if p.rival(h) {
		c.Rival = h.mark.Resource
	}
	switch {
	case !h.exists:
		c.There = h.key.String() + " (its mark alone)"
	case len(h.data.Values) == 0 && h.data.Alias == nil:
		c.There = h.key.String()
	}
	p.plan.Conflicts = append(p.plan.Conflicts, c)
}

// describe says whose something is, for people.
func (p *planner) describe(h holding) string {
	switch {
	case p.mine(h):
		return "this ManagedRecord, which its policy keeps from deleting it"
	case h.marked && h.mark.Owner == p.owner:
		return fmt.Sprintf("the ManagedRecord %s of this cluster", h.mark.Resource)
	case h.marked:
		return fmt.Sprintf("Trellis in another cluster (owner id %s, ManagedRecord %s)", h.mark.Owner, h.mark.Resource)
	}
	if owner := p.foreign(h.key); owner != "" {
		return owner
	}
	return nobody
}

// nobody owns what has no mark that is understood.
const nobody = "nobody that Trellis knows"

func sortedKeys[V any](m map[Key]V) []Key {
	out := make([]Key, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, Key.Compare)
	return out
}
