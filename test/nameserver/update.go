// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"maps"
	"slices"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// update carries out a message as RFC 2136 §3 says, or nothing of it.
func (z *answering) update(q *mdns.Msg) (rcode int) {
	name, err := dns.ParseName(q.Question[0].Name)
	if err != nil || q.Question[0].Qtype != mdns.TypeSOA {
		return mdns.RcodeFormatError
	}
	if name != z.zone.Name {
		return mdns.RcodeNotAuth
	}
	before := z.contents()
	if rcode := z.prerequisites(before, q.Answer); rcode != mdns.RcodeSuccess {
		return rcode
	}
	after := maps.Clone(before)
	for _, rr := range q.Ns {
		if rcode := z.edit(after, rr); rcode != mdns.RcodeSuccess {
			return rcode
		}
	}
	changed := false
	for key := range before {
		if _, ok := after[key]; !ok {
			z.model.Remove(z.zone.ID, key)
			changed = true
		}
	}
	for key, s := range after {
		if was, ok := before[key]; !ok || !was.Equal(s) {
			z.model.Put(z.zone.ID, s)
			changed = true
		}
	}
	if changed {
		z.serial++
	}
	return mdns.RcodeSuccess
}

// keyOf is where a record belongs; ok is false outside of the zone.
func (z *answering) keyOf(rr mdns.RR) (key dns.Key, ok bool) {
	h := rr.Header()
	name, err := dns.ParseName(h.Name)
	if err != nil || !name.In(z.zone.Name) {
		return dns.Key{}, false
	}
	return dns.Key{Name: name, Type: dns.Type(mdns.TypeToString[h.Rrtype])}, true
}

// prerequisites are §3.2.
func (z *answering) prerequisites(contents map[dns.Key]dns.RecordSet, rrs []mdns.RR) int {
	exact := map[dns.Key][]string{}
	for _, rr := range rrs {
		key, ok := z.keyOf(rr)
		if !ok {
			return mdns.RcodeNotZone
		}
		h := rr.Header()
		_, there := contents[key]
		if h.Rrtype == mdns.TypeANY {
			there = nameInUse(contents, key.Name) || key.Name == z.zone.Name
		}
		if h.Ttl != 0 {
			return mdns.RcodeFormatError
		}
		if h.Class == mdns.ClassINET {
			exact[key] = append(exact[key], value(rr))
		} else if rcode := presence(h, there); rcode != mdns.RcodeSuccess {
			return rcode
		}
	}
	for key, values := range exact {
		slices.Sort(values)
		if !slices.Equal(slices.Compact(values), slices.Sorted(slices.Values(contents[key].Values))) {
			return mdns.RcodeNXRrset
		}
	}
	return mdns.RcodeSuccess
}

// presence is §3.2.1, 2, 4 and 5: what has to be there, or must not.
func presence(h *mdns.RR_Header, there bool) int {
	name := h.Rrtype == mdns.TypeANY
	switch {
	case h.Class == mdns.ClassANY && !there && name:
		return mdns.RcodeNameError
	case h.Class == mdns.ClassANY && !there:
		return mdns.RcodeNXRrset
	case h.Class == mdns.ClassNONE && there && name:
		return mdns.RcodeYXDomain
	case h.Class == mdns.ClassNONE && there:
		return mdns.RcodeYXRrset
	}
	return mdns.RcodeSuccess
}

func nameInUse(contents map[dns.Key]dns.RecordSet, name dns.Name) bool {
	for key := range contents {
		if key.Name == name {
			return true
		}
	}
	return false
}

// edit is one line of §3.4.2.
func (z *answering) edit(contents map[dns.Key]dns.RecordSet, rr mdns.RR) int {
	key, ok := z.keyOf(rr)
	if !ok {
		return mdns.RcodeNotZone
	}
	h := rr.Header()
	switch h.Class {
	case mdns.ClassINET:
		insert(contents, key, h.Ttl, value(rr), key.Name == z.zone.Name)
	case mdns.ClassANY:
		maps.DeleteFunc(contents, func(k dns.Key, _ dns.RecordSet) bool {
			return k.Name == key.Name && (h.Rrtype == mdns.TypeANY || k == key)
		})
	case mdns.ClassNONE:
		s := contents[key]
		s.Values = slices.DeleteFunc(slices.Clone(s.Values), func(v string) bool { return v == value(rr) })
		if contents[key] = s; len(s.Values) == 0 {
			delete(contents, key)
		}
	default:
		return mdns.RcodeFormatError
	}
	return mdns.RcodeSuccess
}

// insert adds a record. One that cannot stand beside what is there is left out
// without a word (§3.4.2.2).
func insert(contents map[dns.Key]dns.RecordSet, key dns.Key, ttl uint32, v string, apex bool) {
	if apex && (key.Type == dns.TypeCNAME || key.Type == "SOA" || key.Type == "NS") {
		return
	}
	for k := range contents {
		if k.Name == key.Name && (k.Type == dns.TypeCNAME) != (key.Type == dns.TypeCNAME) {
			return
		}
	}
	s := contents[key]
	s.Key, s.TTL = key, ttl
	if key.Type == dns.TypeCNAME {
		s.Values = nil
	}
	if !slices.Contains(s.Values, v) {
		s.Values = append(slices.Clone(s.Values), v)
		slices.Sort(s.Values)
	}
	contents[key] = s
}
