// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// resourceRecordSet is one on the wire. Fields are in the order of the schema.
type resourceRecordSet struct {
	Name             string
	Type             string
	SetIdentifier    string           `xml:",omitempty"`
	Weight           *int64           `xml:",omitempty"`
	GeoLocation      *geoLocation     `xml:",omitempty"`
	MultiValueAnswer *bool            `xml:",omitempty"`
	TTL              *int64           `xml:",omitempty"`
	ResourceRecords  *resourceRecords `xml:",omitempty"`
	AliasTarget      *aliasTarget     `xml:",omitempty"`
	// Unknown is what this server does not know, and therefore refuses.
	Unknown []anyElement `xml:",any"`
}

type resourceRecords struct {
	Records []resourceRecord `xml:"ResourceRecord"`
}

type resourceRecord struct{ Value string }

type geoLocation struct {
	ContinentCode   string       `xml:",omitempty"`
	CountryCode     string       `xml:",omitempty"`
	SubdivisionCode string       `xml:",omitempty"`
	Unknown         []anyElement `xml:",any"`
}

type aliasTarget struct {
	HostedZoneID         string `xml:"HostedZoneId"`
	DNSName              string
	EvaluateTargetHealth *bool
}

type anyElement struct{ XMLName xml.Name }

// key is what is unique in a zone.
type key struct{ name, typ, identifier string }

func (s *resourceRecordSet) key() key { return key{s.Name, s.Type, s.SetIdentifier} }

// values are the record values; none of an alias.
func (s *resourceRecordSet) values() []string {
	if s.ResourceRecords == nil {
		return nil
	}
	var out []string
	for _, r := range s.ResourceRecords.Records {
		out = append(out, r.Value)
	}
	return out
}

// policies is how many kinds of routing it has.
func (s *resourceRecordSet) policies() int {
	n := 0
	for _, has := range []bool{s.Weight != nil, s.GeoLocation != nil, s.MultiValueAnswer != nil} {
		if has {
			n++
		}
	}
	return n
}

// policy is the kind of routing; simple where there is none.
func (s *resourceRecordSet) policy() string {
	switch {
	case s.Weight != nil:
		return "weighted"
	case s.GeoLocation != nil:
		return "geolocation"
	case s.MultiValueAnswer != nil:
		return "multivalue"
	}
	return "simple"
}

// zone is a hosted zone. Names have a trailing dot, are in lower case, and have
// their escapes taken out.
type zone struct {
	id, name string
	private  bool
	sets     map[key]*resourceRecordSet
}

func newZone(id, name string, private bool) *zone {
	z := &zone{id: id, name: name, private: private, sets: map[key]*resourceRecordSet{}}
	ttl := [2]int64{900, 172800}
	for _, set := range []*resourceRecordSet{
		{Name: name, Type: "SOA", TTL: &ttl[0], ResourceRecords: &resourceRecords{[]resourceRecord{{"ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}}}},
		{Name: name, Type: "NS", TTL: &ttl[1], ResourceRecords: &resourceRecords{[]resourceRecord{{"ns-1.awsdns-00.com."}, {"ns-2.awsdns-00.net."}}}},
	} {
		z.sets[set.key()] = set
	}
	return z
}

// unescapeName reads a name as requests write it: \ooo is a character, and the
// dot at the end may be left out.
func unescapeName(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return strings.TrimSuffix(strings.ToLower(out.String()), ".") + "."
}

// escapeName writes a name as answers have it: everything but a to z, 0 to 9,
// hyphen and underscore is an escape.
func escapeName(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) >= 0 {
			out.WriteByte(c)
			continue
		}
		fmt.Fprintf(&out, `\%03o`, c)
	}
	return out.String()
}

// order is the text by which names are sorted: labels reversed, with the dot at
// the end, which comes after a hyphen and a star.
func (s *Server) order(name string) string {
	if s.EscapedOrder {
		name = escapeName(name)
	}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

func (s *Server) compare(a, b key) int {
	if c := strings.Compare(s.order(a.name), s.order(b.name)); c != 0 {
		return c
	}
	if c := strings.Compare(a.typ, b.typ); c != 0 {
		return c
	}
	return strings.Compare(a.identifier, b.identifier)
}

type listSetsResponse struct {
	XMLName              xml.Name            `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListResourceRecordSetsResponse"`
	Sets                 []resourceRecordSet `xml:"ResourceRecordSets>ResourceRecordSet"`
	IsTruncated          bool
	NextRecordName       string `xml:",omitempty"`
	NextRecordType       string `xml:",omitempty"`
	NextRecordIdentifier string `xml:",omitempty"`
	MaxItems             int
}

func (s *Server) listSets(z *zone, r *http.Request) (any, *refusal) {
	limit, refused := maxItems(r, maxSets)
	if refused != nil {
		return nil, refused
	}
	q := r.URL.Query()
	start := key{"", q.Get("type"), q.Get("identifier")}
	if name := q.Get("name"); name != "" {
		start.name = unescapeName(name)
	}
	switch {
	case start.typ != "" && start.name == "":
		return nil, refuse("InvalidInput", "A record type was specified without a record name")
	case start.identifier != "" && (start.typ == "" || start.name == ""):
		return nil, refuse("InvalidInput", "A record identifier was specified without a record name and type")
	}
	out := listSetsResponse{MaxItems: limit}
	for _, k := range slices.SortedFunc(maps.Keys(z.sets), s.compare) {
		switch {
		case start.name != "" && s.compare(k, start) < 0:
			continue
		case len(out.Sets) == limit:
			out.IsTruncated = true
			out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier = escapeName(k.name), k.typ, k.identifier
			return out, nil
		}
		set := *z.sets[k]
		set.Name = escapeName(set.Name)
		out.Sets = append(out.Sets, set)
	}
	return out, nil
}
