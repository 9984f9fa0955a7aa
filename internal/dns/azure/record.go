// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxString is how many octets one string of a TXT record holds (RFC 1035 §3.3).
const maxString = 255

// ownerEntry is the metadata that says whose a record set is; like a mark's text,
// never change it.
const ownerEntry = "trellis-owner"

// encode is a record set as Azure takes it.
func encode(s dns.RecordSet) (armdns.RecordSet, error) {
	p := &armdns.RecordSetProperties{TTL: to.Ptr(int64(s.TTL))}
	if s.Identifier != "" || s.Routing != nil || s.Alias != nil {
		return armdns.RecordSet{}, fmt.Errorf("writing %s: %w: Azure DNS has neither routing nor aliases to host names", s.Key, dns.ErrInvalid)
	}
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeA:
			p.ARecords = append(p.ARecords, &armdns.ARecord{IPv4Address: to.Ptr(v)})
		case dns.TypeAAAA:
			p.AaaaRecords = append(p.AaaaRecords, &armdns.AaaaRecord{IPv6Address: to.Ptr(v)})
		case dns.TypeCNAME:
			p.CnameRecord = &armdns.CnameRecord{Cname: to.Ptr(v)}
		case dns.TypeTXT:
			p.TxtRecords = append(p.TxtRecords, &armdns.TxtRecord{Value: split(v)})
		default:
			return armdns.RecordSet{}, fmt.Errorf("writing %s: %w: this is no type that Trellis writes", s.Key, dns.ErrInvalid)
		}
	}
	return armdns.RecordSet{Properties: p}, nil
}

// split cuts a text into strings of up to 255 octets, between characters: JSON
// cannot carry half of one.
func split(text string) []*string {
	var out []*string
	for len(text) > maxString {
		n := maxString
		for n > maxString-4 && text[n]&0xC0 == 0x80 {
			n--
		}
		out, text = append(out, to.Ptr(text[:n])), text[n:]
	}
	return append(out, to.Ptr(text))
}

// withOwner puts the second copy of the owner into the metadata, and leaves what
// others have put there.
func withOwner(set *armdns.RecordSet, old *dns.Observed, owner string) {
	if old != nil {
		if raw, ok := old.Raw.(*armdns.RecordSet); ok && raw.Properties != nil {
			set.Properties.Metadata = make(map[string]*string, len(raw.Properties.Metadata)+1)
			for name, value := range raw.Properties.Metadata {
				if owner == "" || !strings.EqualFold(name, ownerEntry) {
					set.Properties.Metadata[name] = value
				}
			}
		}
	}
	if owner == "" {
		return
	}
	if set.Properties.Metadata == nil {
		set.Properties.Metadata = map[string]*string{}
	}
	set.Properties.Metadata[ownerEntry] = to.Ptr(owner)
}

// ownerIn finds the owner that a change writes into the mark of a key; empty where
// it writes none.
func ownerIn(c dns.Change, k dns.Key) string {
	at, err := dns.MarkName(k)
	if err != nil {
		return ""
	}
	for _, s := range c.Create {
		if s.Name != at || s.Type != dns.TypeTXT || len(s.Values) != 1 {
			continue
		}
		for field := range strings.SplitSeq(s.Values[0], ",") {
			if owner, ok := strings.CutPrefix(field, "trellis/owner="); ok {
				return owner
			}
		}
	}
	return ""
}

// decode reads a record set; ok is false where it is none of a name of ours.
func decode(zone dns.Zone, s *armdns.RecordSet) (o dns.Observed, ok bool) {
	if s == nil || s.Name == nil || s.Type == nil || s.Properties == nil {
		return dns.Observed{}, false
	}
	name := zone.Name
	if *s.Name != "@" {
		n, err := dns.ParseName(*s.Name + "." + string(zone.Name))
		if err != nil {
			return dns.Observed{}, false
		}
		name = n
	}
	key := dns.Key{Name: name, Type: dns.Type(strings.ToUpper((*s.Type)[strings.LastIndexByte(*s.Type, '/')+1:]))}
	o = dns.Observed{RecordSet: dns.RecordSet{Key: key}, Raw: s}
	if s.Etag != nil {
		o.Revision = *s.Etag
	}
	if !slices.Contains(dns.Types(), key.Type) {
		return o, true
	}
	o.RecordSet = decodeValues(key, s.Properties)
	if ref := s.Properties.TargetResource; ref != nil && ref.ID != nil && *ref.ID != "" {
		// An alias to a resource of Azure, by its id: never one of ours.
		o.TTL, o.Values, o.Alias = 0, nil, &dns.Alias{Target: dns.Name(*ref.ID), Zone: "azure"}
	}
	return o, true
}

func decodeValues(key dns.Key, p *armdns.RecordSetProperties) dns.RecordSet {
	var values []string
	for _, r := range p.ARecords {
		values = appendText(values, r.IPv4Address)
	}
	for _, r := range p.AaaaRecords {
		values = appendText(values, r.IPv6Address)
	}
	for _, r := range p.TxtRecords {
		text := ""
		for _, part := range r.Value {
			text += strings.Join(appendText(nil, part), "")
		}
		values = append(values, text)
	}
	if p.CnameRecord != nil {
		values = appendText(values, p.CnameRecord.Cname)
	}
	ttl := uint32(0)
	if p.TTL != nil {
		ttl = uint32(min(max(*p.TTL, 0), math.MaxInt32))
	}
	set, err := dns.NewRecordSet(key, ttl, values...)
	if err != nil {
		// Somebody else's, in a form that is not ours: shown as it is.
		return dns.RecordSet{Key: key, TTL: ttl, Values: values}
	}
	return set
}

func appendText(to []string, s *string) []string {
	if s == nil {
		return to
	}
	return append(to, *s)
}
