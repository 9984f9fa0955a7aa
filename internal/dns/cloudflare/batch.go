// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"fmt"
	"maps"
	"slices"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
)

// batch is the request; the service carries deletes out first, then patches, then
// posts.
type batch struct {
	Deletes []deletion `json:"deletes,omitempty"`
	Patches []entry    `json:"patches,omitempty"`
	Posts   []entry    `json:"posts,omitempty"`
}

type deletion struct {
	ID string `json:"id"`
}

// entry is a record as it is written. A patch leaves out what is the user's.
type entry struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Content string `json:"content"`
	TTL     uint32 `json:"ttl"`
	Comment string `json:"comment"`
	Proxied *bool  `json:"proxied,omitempty"`
}

func (b *batch) size() int { return len(b.Deletes) + len(b.Patches) + len(b.Posts) }

// maker turns changes into a batch, given what is there.
type maker struct {
	zone dns.Zone
	is   held
	batch
	// touched are the keys that are written, each once.
	touched map[dns.Key]bool
	// expected are the contents of records that are kept or patched, by id.
	expected map[string]string
	// marks are the texts of marks that the changes write, by key.
	marks map[dns.Key]string
}

// names are all that must be read before a batch is made: what is written, and the
// marks of it.
func names(changes []dns.Change) []dns.Name {
	var out []dns.Name
	for _, c := range changes {
		for _, w := range c.Writes() {
			out = append(out, w.Key().Name)
			if mark, ok := markOf(w.Key()); ok {
				out = append(out, mark.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// markOf is the key of the mark of what is at a key, if that is no mark itself.
func markOf(key dns.Key) (dns.Key, bool) {
	if dns.IsMark(key) {
		return dns.Key{}, false
	}
	name, err := dns.MarkName(key)
	return dns.Key{Name: name, Type: dns.TypeTXT}, err == nil
}

// makeBatch is the batch for changes, or ErrStale where what is there is not what
// was observed.
func makeBatch(zone dns.Zone, is held, changes []dns.Change) (*maker, error) {
	m := &maker{zone: zone, is: is, touched: map[dns.Key]bool{}, expected: map[string]string{}, marks: map[dns.Key]string{}}
	for _, c := range changes {
		for _, s := range c.Create {
			if dns.IsMark(s.Key) && len(s.Values) > 0 {
				m.marks[s.Key] = s.Values[0]
			}
		}
	}
	for _, c := range changes {
		for _, w := range c.Writes() {
			if err := m.write(w); err != nil {
				return nil, err
			}
		}
	}
	if err := m.neighbours(); err != nil {
		return nil, err
	}
	m.token()
	return m, nil
}

// write compares one record set, and replaces it.
func (m *maker) write(w dns.Write) error {
	key := w.Key()
	is, exists := m.is.set(key)
	switch {
	case m.touched[key]:
		return fmt.Errorf("writing %s twice at once: %w", key, dns.ErrStale)
	case w.Old == nil && exists:
		return fmt.Errorf("creating what is there, %s: %w", is.Text(), dns.ErrStale)
	case w.Old != nil && !exists:
		return fmt.Errorf("replacing what is gone, %s: %w", w.Old.Text(), dns.ErrStale)
	case w.Old != nil && (w.Old.Revision != is.Revision || !w.Old.Equal(is.RecordSet)):
		return fmt.Errorf("replacing %s, which is %s now: %w", w.Old.Text(), is.Text(), dns.ErrStale)
	}
	m.touched[key] = true
	m.replace(key, w.New)
	return nil
}

// replace makes the records at a key those of a set, nil for none. A record with a
// value that stays is kept, and others get new values as far as they go, so that
// no answer is missing in between: records spread one by one. Marks are deleted
// and made again: nobody asks for them, and their ids are compared.
func (m *maker) replace(key dns.Key, next *dns.RecordSet) {
	var want []string
	if next != nil {
		want = slices.Clone(next.Values)
	}
	var spare []record
	for _, r := range m.is.at(key) {
		i := slices.Index(want, r.value())
		if i < 0 || dns.IsMark(key) {
			spare = append(spare, r)
			continue
		}
		m.patch(r, *next, want[i])
		want = slices.Delete(want, i, i+1)
	}
	for _, value := range want {
		if len(spare) == 0 || dns.IsMark(key) {
			m.Posts = append(m.Posts, m.entry(*next, value, true))
			continue
		}
		m.patch(spare[0], *next, value)
		spare = spare[1:]
	}
	for _, r := range spare {
		m.Deletes = append(m.Deletes, deletion{r.ID})
	}
}

// patch changes a record where it is not as wanted yet.
func (m *maker) patch(r record, next dns.RecordSet, value string) {
	e := m.entry(next, value, false)
	e.ID = r.ID
	if r.value() == value {
		// As it was written: others quote texts in another way.
		e.Content = r.Content
	}
	m.expected[r.ID] = value
	if r.value() != value || r.TTL != e.TTL || r.Comment != e.Comment {
		m.Patches = append(m.Patches, e)
	}
}

// entry is a value of a set as a record. A new one is proxied where its name is.
func (m *maker) entry(s dns.RecordSet, value string, isNew bool) entry {
	e := entry{Name: string(s.Name), Type: string(s.Type), Content: value, TTL: s.TTL}
	if s.Type == dns.TypeTXT {
		e.Content = zonefile.Quote(value)
	}
	mark := value
	if at, ok := markOf(s.Key); ok {
		mark = m.mark(at)
	}
	e.Comment = comment(s.TTL, mark)
	if s.Type == dns.TypeTXT {
		return e
	}
	proxied := m.is.proxied(s.Name)
	if proxied {
		e.TTL = ttlAutomatic
	}
	if isNew {
		e.Proxied = &proxied
	}
	return e
}

// mark is the text of a mark as it will be.
func (m *maker) mark(at dns.Key) string {
	if text, ok := m.marks[at]; ok {
		return text
	}
	if is, exists := m.is.set(at); exists && len(is.Values) > 0 {
		return is.Values[0]
	}
	return ""
}

// neighbours refuses a CNAME beside others below the apex (RFC 1034 §3.6.2), which
// Cloudflare lets pass for all but addresses. At the apex it is flattened.
func (m *maker) neighbours() error {
	for _, key := range slices.SortedFunc(maps.Keys(m.touched), dns.Key.Compare) {
		types := map[dns.Type]bool{}
		for _, r := range m.is[key.Name] {
			if !slices.Contains(m.Deletes, deletion{r.ID}) {
				types[dns.Type(r.Type)] = true
			}
		}
		for _, e := range m.Posts {
			if e.Name == string(key.Name) {
				types[dns.Type(e.Type)] = true
			}
		}
		if types[dns.TypeCNAME] && len(types) > 1 && key.Name != m.zone.Name {
			return fmt.Errorf("writing %s: a CNAME cannot stand beside others (RFC 1034 §3.6.2): %w", key, dns.ErrStale)
		}
	}
	return nil
}

// token makes the marks again whose data is written while they stay: who else has
// compared with the same state will find them gone. It is left out where the batch
// would grow too large by it.
func (m *maker) token() {
	var again batch
	for _, key := range slices.SortedFunc(maps.Keys(m.touched), dns.Key.Compare) {
		at, ok := markOf(key)
		if !ok || m.touched[at] {
			continue
		}
		for _, r := range m.is.at(at) {
			again.Deletes = append(again.Deletes, deletion{r.ID})
			again.Posts = append(again.Posts, entry{Name: r.Name, Type: r.Type, Content: r.Content, TTL: r.TTL, Comment: r.Comment})
		}
	}
	if m.size() > 0 && m.size()+again.size() <= maxOperations {
		m.Deletes = append(m.Deletes, again.Deletes...)
		m.Posts = append(m.Posts, again.Posts...)
	}
}
