// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"fmt"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// toRecords reads values as zone files have them, so that what the product does
// with them is checked against another way.
func toRecords(s dns.RecordSet) ([]mdns.RR, error) {
	var out []mdns.RR
	for _, v := range s.Values {
		if s.Type == dns.TypeTXT {
			v = quoted(v)
		}
		line := fmt.Sprintf("%s %d IN %s %s", s.Name.FQDN(), s.TTL, s.Type, v)
		rr, err := mdns.NewRR(line)
		if err != nil {
			return nil, fmt.Errorf("reading the record %q: %w", line, err)
		}
		out = append(out, rr)
	}
	return out, nil
}

// quoted is a text as zone files have it: strings of at most 255 octets, each
// octet by its number.
func quoted(text string) string {
	var out []string
	for piece := range slices.Chunk([]byte(text), 255) {
		var b strings.Builder
		for _, c := range piece {
			fmt.Fprintf(&b, `\%03d`, c)
		}
		out = append(out, `"`+b.String()+`"`)
	}
	if len(out) == 0 {
		return `""`
	}
	return strings.Join(out, " ")
}

// toSets groups the records of a zone, without the SOA and NS of its apex.
func toSets(zone dns.Name, rrs []mdns.RR) ([]dns.RecordSet, error) {
	sets := map[dns.Key]*dns.RecordSet{}
	for _, rr := range rrs {
		h := rr.Header()
		name, err := dns.ParseName(h.Name)
		if err != nil {
			return nil, err
		}
		if name == zone && (h.Rrtype == mdns.TypeSOA || h.Rrtype == mdns.TypeNS) {
			continue
		}
		key := dns.Key{Name: name, Type: dns.Type(mdns.TypeToString[h.Rrtype])}
		if sets[key] == nil {
			sets[key] = &dns.RecordSet{Key: key, TTL: h.Ttl}
		}
		sets[key].Values = append(sets[key].Values, value(rr))
	}
	var out []dns.RecordSet
	for _, s := range sets {
		slices.Sort(s.Values)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b dns.RecordSet) int { return a.Compare(b.Key) })
	return out, nil
}

// value is a record's data as text: of a TXT the text, else as zone files have it.
func value(rr mdns.RR) string {
	txt, ok := rr.(*mdns.TXT)
	if !ok {
		return strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	// Packing reads the escapes.
	buffer := make([]byte, mdns.Len(rr)+1)
	end, err := mdns.PackRR(txt, buffer, 0, nil, false)
	if err != nil {
		return err.Error()
	}
	_, start, _ := mdns.UnpackDomainName(buffer, 0)
	data := buffer[start+10 : end]
	var b strings.Builder
	for len(data) > 0 {
		n := int(data[0])
		b.Write(data[1 : 1+n])
		data = data[1+n:]
	}
	return b.String()
}
