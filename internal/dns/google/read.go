// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	clouddns "google.golang.org/api/dns/v1"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/zonefile"
)

// wholeZoneAbove is from how many names on all of a zone is read, 1,000 record
// sets a page: below it, a call for each name is cheaper in most zones. One
// ManagedRecord has five names.
const wholeZoneAbove = 10

// Read asks for each name, or for the whole zone where there are many.
func (p *Provider) Read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	asked := map[dns.Name]bool{}
	for _, n := range names {
		// Google takes an asterisk as a whole label only.
		if !n.Starred() {
			asked[n] = true
		}
	}
	var out []dns.Observed
	collect := func(page *clouddns.ResourceRecordSetsListResponse) error {
		for _, s := range page.Rrsets {
			if o, ok := observe(s); ok && asked[o.Name] {
				out = append(out, o)
			}
		}
		return nil
	}
	if len(asked) > wholeZoneAbove {
		call := p.service.ResourceRecordSets.List(p.project, zone.ID).MaxResults(listPageSize)
		if err := call.Pages(ctx, collect); err != nil {
			return nil, fmt.Errorf("reading the zone %s: %w", zone.Name, explain(err))
		}
		return dedupe(out), nil
	}
	// In order, so that the same failure reads the same each time.
	for _, n := range slices.Sorted(maps.Keys(asked)) {
		call := p.service.ResourceRecordSets.List(p.project, zone.ID).Name(n.FQDN()).MaxResults(listPageSize)
		if err := call.Pages(ctx, collect); err != nil {
			return nil, fmt.Errorf("reading %s: %w", n, explain(err))
		}
	}
	return dedupe(out), nil
}

// dedupe sorts, and keeps one of what was seen twice because the zone changed
// from one page to the next. A write that expects the wrong one is refused.
func dedupe(sets []dns.Observed) []dns.Observed {
	slices.SortFunc(sets, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return slices.CompactFunc(sets, func(a, b dns.Observed) bool { return a.Key == b.Key })
}

// observe translates a record set. Raw is what a deletion repeats. It is not ok
// where the name is none that anybody could have asked for.
func observe(s *clouddns.ResourceRecordSet) (o dns.Observed, ok bool) {
	name, err := dns.ParseName(s.Name)
	if err != nil {
		return dns.Observed{}, false
	}
	key := dns.Key{Name: name, Type: dns.Type(s.Type)}
	o = dns.Observed{RecordSet: dns.RecordSet{Key: key}, Raw: s}
	if !slices.Contains(dns.Types(), key.Type) || s.RoutingPolicy != nil {
		return o, true
	}
	values := slices.Clone(s.Rrdatas)
	if key.Type == dns.TypeTXT {
		for i, v := range values {
			values[i] = zonefile.Unquote(v)
		}
	}
	ttl := uint32(min(max(s.Ttl, 0), maxTTL))
	if set, err := dns.NewRecordSet(key, ttl, values...); err == nil {
		o.RecordSet = set
		return o, true
	}
	// Such as a CNAME to a name with escapes: shown as it is, and equal to nothing
	// that anybody wants.
	o.TTL, o.Values = ttl, values
	return o, true
}

// express is the other way round.
func express(s dns.RecordSet) *clouddns.ResourceRecordSet {
	out := &clouddns.ResourceRecordSet{Name: s.Name.FQDN(), Type: string(s.Type), Ttl: int64(s.TTL), ForceSendFields: []string{"Ttl"}}
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeTXT:
			v = zonefile.Quote(v)
		case dns.TypeCNAME:
			v = strings.TrimSuffix(v, ".") + "."
		}
		out.Rrdatas = append(out.Rrdatas, v)
	}
	return out
}
