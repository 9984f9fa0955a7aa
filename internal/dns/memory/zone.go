// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"maps"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// zone is one zone and what is in it, by name. Apex SOA and NS are not modelled.
type zone struct {
	dns.Zone
	names map[dns.Name]map[dns.Key]dns.Observed
}

func newZone(z dns.Zone) *zone { return &zone{Zone: z, names: map[dns.Name]map[dns.Key]dns.Observed{}} }

func (z *zone) put(o dns.Observed) {
	if z.names[o.Name] == nil {
		z.names[o.Name] = map[dns.Key]dns.Observed{}
	}
	z.names[o.Name][o.Key] = o
}

func (z *zone) remove(k dns.Key) {
	if delete(z.names[k.Name], k); len(z.names[k.Name]) == 0 {
		delete(z.names, k.Name)
	}
}

// tooLarge reports whether a batch exceeds the limits. One change always goes.
func tooLarge(c dns.Capabilities, changes []dns.Change) bool {
	if len(changes) <= 1 {
		return false
	}
	if !c.Atomic || c.MaxChanges > 0 && len(changes) > c.MaxChanges {
		return true
	}
	records := 0
	for _, change := range changes {
		records += change.Records()
	}
	return c.MaxRecords > 0 && records > c.MaxRecords
}

// check judges a batch as a whole, on a copy.
func (p *Provider) check(z *zone, changes []dns.Change) error {
	next := newZone(z.Zone)
	for _, c := range changes {
		for _, w := range c.Writes() {
			if name := w.Key().Name; next.names[name] == nil {
				next.names[name] = maps.Clone(z.names[name])
			}
			if err := p.checkAlone(next, w); err != nil {
				return err
			}
			if w.New == nil {
				delete(next.names[w.Old.Name], w.Old.Key)
				continue
			}
			// No revision: a second write of the same key in one batch is refused,
			// since nobody can have observed what it deletes.
			next.put(dns.Observed{RecordSet: *w.New})
		}
	}
	return nil
}

// checkAlone judges one write.
func (p *Provider) checkAlone(z *zone, w dns.Write) error {
	if err := compare(z, w); err != nil {
		return err
	}
	if w.New == nil {
		return nil
	}
	if err := p.valid(z, *w.New); err != nil {
		return err
	}
	return neighbours(z, *w.New)
}

// compare is the compare of compare-and-swap.
func compare(z *zone, w dns.Write) error {
	key := w.Key()
	is, exists := z.names[key.Name][key]
	switch {
	case w.Old == nil && exists:
		return fmt.Errorf("creating %s, which is there: %w", key, dns.ErrStale)
	case w.Old != nil && !exists:
		return fmt.Errorf("deleting %s, which is not there: %w", key, dns.ErrStale)
	case w.Old != nil && (!is.Equal(w.Old.RecordSet) || is.Revision != w.Old.Revision):
		return fmt.Errorf("deleting %s, which is %s: %w", w.Old.Text(), is.Text(), dns.ErrStale)
	}
	return nil
}

func (p *Provider) valid(z *zone, s dns.RecordSet) error {
	switch {
	case !s.Name.In(z.Name):
		return fmt.Errorf("%s is not in the zone %s: %w", s.Name, z.Name, dns.ErrInvalid)
	case s.Type == dns.TypeCNAME && s.Name == z.Name:
		return fmt.Errorf("a CNAME at the apex %s: %w", s.Name, dns.ErrInvalid)
	case s.TTL > maxTTL:
		return fmt.Errorf("a TTL of %d seconds: %w", s.TTL, dns.ErrInvalid)
	case (len(s.Values) == 0) == (s.Alias == nil):
		return fmt.Errorf("%s without exactly one of values and alias: %w", s.Key, dns.ErrInvalid)
	case (s.Identifier == "") != (s.Routing == nil):
		return fmt.Errorf("%s without exactly both or none of identifier and routing: %w", s.Key, dns.ErrInvalid)
	}
	if r := s.Routing; r != nil {
		c := p.options.Capabilities
		if r.Weight != nil && !c.Weights || r.Location != nil && !c.Locations {
			return fmt.Errorf("%s has a routing that is not offered: %w", s.Key, dns.ErrInvalid)
		}
	}
	if p.options.Refuse != nil {
		if err := p.options.Refuse(s); err != nil {
			return fmt.Errorf("%s: %w: %w", s.Key, err, dns.ErrInvalid)
		}
	}
	return nil
}

// neighbours keeps a CNAME alone at its name, and a record set that stands alone
// apart from groups. What is there may have come after the writer has looked, so
// that this is a stale write, not one that is wrong for ever.
func neighbours(z *zone, s dns.RecordSet) error {
	for key := range z.names[s.Name] {
		if key == s.Key {
			continue
		}
		if (key.Type == dns.TypeCNAME) != (s.Type == dns.TypeCNAME) {
			return fmt.Errorf("%s cannot stand beside %s (RFC 1034 §3.6.2): %w", s.Key, key, dns.ErrStale)
		}
		if key.Type == s.Type && (key.Identifier == "") != (s.Identifier == "") {
			return fmt.Errorf("%s cannot stand beside %s: %w", s.Key, key, dns.ErrStale)
		}
	}
	return nil
}
