// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
)

const (
	// wholeZoneAbove is from how many names on all of a zone is read: most zones are
	// one page. One ManagedRecord has five names.
	wholeZoneAbove = 10
	listPageSize   = 5000
)

// record is the resource, as it is read.
type record struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Content  string `json:"content"`
	TTL      uint32 `json:"ttl"`
	Proxied  bool   `json:"proxied"`
	Comment  string `json:"comment"`
	Modified string `json:"modified_on"`
}

// held are the records at names.
type held map[dns.Name][]record

// Read asks for each name, or for the whole zone where there are many.
func (p *Provider) Read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	records, err := p.records(ctx, zone, names)
	if err != nil {
		return nil, fmt.Errorf("reading the zone %s: %w", zone.Name, err)
	}
	return records.sets(), nil
}

func (p *Provider) records(ctx context.Context, zone dns.Zone, names []dns.Name) (held, error) {
	asked, out, seen := map[dns.Name]bool{}, held{}, map[string]bool{}
	for _, n := range names {
		asked[n] = true
	}
	collect := func(r record) {
		name, err := dns.ParseName(r.Name)
		// A record is seen twice where the zone changes between two pages.
		if err != nil || !asked[name] || seen[r.ID] {
			return
		}
		seen[r.ID] = true
		out[name] = append(out[name], r)
	}
	path := "zones/" + url.PathEscape(zone.ID) + "/dns_records"
	size := strconv.Itoa(listPageSize)
	if len(asked) > wholeZoneAbove {
		return out, pages(ctx, p.client, path, url.Values{"per_page": {size}}, collect)
	}
	// In order, so that the same failure reads the same each time.
	for _, n := range slices.Sorted(maps.Keys(asked)) {
		if err := pages(ctx, p.client, path, url.Values{"per_page": {size}, "name.exact": {string(n)}}, collect); err != nil {
			return nil, fmt.Errorf("asking for %s: %w", n, err)
		}
	}
	return out, nil
}

// sets are all record sets that the records make up, in order of keys.
func (h held) sets() []dns.Observed {
	var out []dns.Observed
	for name, records := range h {
		types := map[dns.Type]bool{}
		for _, r := range records {
			types[dns.Type(r.Type)] = true
		}
		for t := range types {
			o, _ := h.set(dns.Key{Name: name, Type: t})
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return out
}

// at are the records of a name and type, in order of ids.
func (h held) at(key dns.Key) []record {
	var out []record
	for _, r := range h[key.Name] {
		if dns.Type(r.Type) == key.Type {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b record) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// set is the record set at a key. Its revision changes with every write to one of
// its records, whatever was written.
func (h held) set(key dns.Key) (o dns.Observed, exists bool) {
	records := h.at(key)
	o = dns.Observed{RecordSet: dns.RecordSet{Key: key}}
	var ids, revisions, values []string
	for i, r := range records {
		ids, revisions = append(ids, r.ID), append(revisions, r.ID+"@"+r.Modified)
		values = append(values, r.value())
		switch {
		case i == 0:
			o.TTL = r.ttl()
		case r.ttl() != o.TTL:
			// Records of one set with several TTLs are like nothing that is wanted.
			o.TTL = 0
		}
	}
	o.Handle, o.Revision = strings.Join(ids, ","), strings.Join(revisions, ",")
	if !slices.Contains(dns.Types(), key.Type) {
		o.TTL = 0
		return o, len(records) > 0
	}
	if canonical, err := dns.NewRecordSet(key, o.TTL, values...); err == nil {
		o.RecordSet = canonical
	} else {
		o.Values = values
	}
	return o, len(records) > 0
}

// proxied reports whether traffic to a name goes through Cloudflare: one record of
// it is enough.
func (h held) proxied(name dns.Name) bool {
	return slices.ContainsFunc(h[name], func(r record) bool { return r.Proxied })
}

// value is the record's value in canonical form, if it has one.
func (r record) value() string {
	if r.Type == string(dns.TypeTXT) {
		// Texts without quotes come from before Cloudflare wanted some.
		if !strings.HasPrefix(r.Content, `"`) {
			return r.Content
		}
		return zonefile.Unquote(r.Content)
	}
	if set, err := dns.NewRecordSet(dns.Key{Type: dns.Type(r.Type)}, 0, r.Content); err == nil {
		return set.Values[0]
	}
	return r.Content
}

// ttl is the record's TTL in seconds: that of a proxied record as it was wanted.
func (r record) ttl() uint32 {
	if r.Proxied {
		if wanted, ok := commentTTL(r.Comment); ok {
			return wanted
		}
	}
	if r.TTL == ttlAutomatic {
		return autoTTL
	}
	return r.TTL
}

// The comment of a record of ours. Cloudflare allows 100 characters in the free
// plan.
const (
	commentBegin = "Trellis ttl="
	maxComment   = 100
)

// comment says whose a record is and which TTL was wanted, by the text of its mark;
// the end is cut off where it is too long.
func comment(ttl uint32, mark string) string {
	out := commentBegin + strconv.FormatUint(uint64(ttl), 10)
	for field := range strings.SplitSeq(mark, ",") {
		if _, word, ok := strings.Cut(field, "trellis/"); ok {
			out += " " + word
		}
	}
	if utf8.RuneCountInString(out) > maxComment {
		out = string([]rune(out)[:maxComment-1]) + "…"
	}
	return out
}

// commentTTL is the TTL that a comment of ours says.
func commentTTL(comment string) (ttl uint32, ok bool) {
	rest, ours := strings.CutPrefix(comment, commentBegin)
	digits, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ours && err == nil
}
