// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Type is a record type, as in the registry of RFC 6895.
type Type string

// The types that Trellis writes. Others are seen, and never touched.
const (
	TypeA     Type = "A"
	TypeAAAA  Type = "AAAA"
	TypeCNAME Type = "CNAME"
	TypeTXT   Type = "TXT"
)

// Types are those that Trellis writes.
func Types() []Type { return []Type{TypeA, TypeAAAA, TypeCNAME, TypeTXT} }

// Key is what identifies a record set in a zone.
type Key struct {
	Name Name
	Type Type
	// Identifier tells apart the members of a routed group at one name and type;
	// empty for a record set that stands alone. It is a DNS label.
	Identifier string
}

func (k Key) String() string {
	if k.Identifier == "" {
		return fmt.Sprintf("%s %s", k.Name, k.Type)
	}
	return fmt.Sprintf("%s %s (%s)", k.Name, k.Type, k.Identifier)
}

// Compare orders keys by name, type and identifier.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Name, o.Name), cmp.Compare(k.Type, o.Type), cmp.Compare(k.Identifier, o.Identifier))
}

// RecordSet is all there is of one type at one name, or one member of a routed
// group there. Make values with NewRecordSet, so that equal sets are equal.
type RecordSet struct {
	Key
	// TTL is in seconds. Zero for an alias, whose target decides.
	TTL uint32
	// Values are sorted and in canonical form: addresses as package netip writes
	// them, a CNAME's target as a Name, and of a TXT record the whole text of one
	// record, however long; providers cut it into strings of 255 octets.
	Values []string
	// Alias stands in for Values where a provider answers with the addresses of
	// another name.
	Alias *Alias
	// Routing is nil for a record set that stands alone.
	Routing *Routing
}

// Alias is a pointer that the provider resolves itself, so that it may stand at
// an apex.
type Alias struct {
	Target Name
	// Zone is the provider's id of the zone that the target is in.
	Zone string
}

// Routing says which clients a member of a group is for. Exactly one of its
// fields is set.
type Routing struct {
	// Weight is this member's share of all weights, 0 to 255.
	Weight *uint8
	// Location is where clients are.
	Location *Location
}

// Location is a place on Earth. Default is for everybody who is nowhere else;
// otherwise one of Continent and Country is set.
type Location struct {
	Default bool
	// Continent is two letters as Route 53 and GeoNames have them: AF, AN, AS, EU,
	// NA, OC, SA.
	Continent string
	// Country is ISO 3166-1 alpha-2; Subdivision the part after its dash in ISO
	// 3166-2, in capitals.
	Country, Subdivision string
}

// String is for people.
func (r *Routing) String() string {
	switch {
	case r == nil:
		return "alone at its name"
	case r.Weight != nil:
		return fmt.Sprintf("weight %d", *r.Weight)
	case r.Location == nil:
		return "routed otherwise"
	case r.Location.Default:
		return "for clients of everywhere else"
	case r.Location.Continent != "":
		return "for clients in the continent " + r.Location.Continent
	case r.Location.Subdivision != "":
		return "for clients in " + r.Location.Country + "-" + r.Location.Subdivision
	}
	return "for clients in " + r.Location.Country
}

// beside reports whether two sets of one type with these routings can be at one
// name: members of one kind, and none for the same place.
func (r *Routing) beside(o *Routing) bool {
	switch {
	case r == nil || o == nil:
		return false
	case r.Weight != nil:
		return o.Weight != nil
	}
	return r.Location != nil && o.Location != nil && *r.Location != *o.Location
}

// NewRecordSet brings values into canonical form, or says what is wrong.
func NewRecordSet(key Key, ttl uint32, values ...string) (RecordSet, error) {
	out := RecordSet{Key: key, TTL: ttl}
	for _, v := range values {
		canonical, err := canonicalValue(key.Type, v)
		if err != nil {
			return RecordSet{}, fmt.Errorf("reading a value of %s: %w", key, err)
		}
		out.Values = append(out.Values, canonical)
	}
	slices.Sort(out.Values)
	out.Values = slices.Compact(out.Values)
	if key.Type == TypeCNAME && len(out.Values) > 1 {
		return RecordSet{}, fmt.Errorf("reading the values of %s: a CNAME has one target (RFC 1034 §3.6.2), and these are %d", key, len(out.Values))
	}
	return out, nil
}

func canonicalValue(t Type, v string) (string, error) {
	switch t {
	case TypeA, TypeAAAA:
		a, err := netip.ParseAddr(v)
		if err != nil {
			return "", err
		}
		if a.Zone() != "" || a.Is4() != (t == TypeA) {
			return "", fmt.Errorf("%q is no address for a record of type %s", v, t)
		}
		return a.String(), nil
	case TypeCNAME:
		n, err := ParseName(v)
		return string(n), err
	}
	if len(v) > maxData {
		return "", fmt.Errorf("it has %d octets, and a record holds %d", len(v), maxData)
	}
	return v, nil
}

// maxData is what a record can hold at all, in octets (RFC 1035 §3.2.1).
const maxData = 65535

// Equal reports whether two record sets say the same.
func (r RecordSet) Equal(o RecordSet) bool {
	return r.Key == o.Key && r.TTL == o.TTL && slices.Equal(r.Values, o.Values) &&
		reflect.DeepEqual(r.Alias, o.Alias) && reflect.DeepEqual(r.Routing, o.Routing)
}

// Text is one line for people: what is at the name. Texts are quoted, and long
// ones cut.
func (r RecordSet) Text() string {
	out := r.String() + " → " + r.what()
	if r.Routing != nil {
		out += ", " + r.Routing.String()
	}
	return out
}

// clipped is how much of a text people are shown, in octets.
const clipped = 80

func (r RecordSet) what() string {
	if r.Alias != nil {
		return "alias of " + string(r.Alias.Target)
	}
	if r.Type != TypeTXT {
		return strings.Join(r.Values, ", ")
	}
	var out []string
	for _, v := range r.Values {
		if len(v) > clipped {
			v = v[:clipped] + "…"
		}
		out = append(out, strconv.QuoteToASCII(v))
	}
	return strings.Join(out, ", ")
}

// Target is where a name is to lead: addresses or a host name, not both.
type Target struct {
	Addresses []netip.Addr
	Host      Name
}

// Empty reports whether it leads nowhere, as while a load balancer is made.
func (t Target) Empty() bool { return len(t.Addresses) == 0 && t.Host == "" }

// Addressed are the record sets of types A and AAAA for a target's addresses.
func Addressed(name Name, identifier string, ttl uint32, addresses []netip.Addr) []RecordSet {
	var out []RecordSet
	for _, t := range []Type{TypeA, TypeAAAA} {
		set := RecordSet{Key: Key{name, t, identifier}, TTL: ttl}
		for _, a := range addresses {
			if a = a.Unmap().WithZone(""); a.Is4() == (t == TypeA) {
				set.Values = append(set.Values, a.String())
			}
		}
		slices.Sort(set.Values)
		if set.Values = slices.Compact(set.Values); len(set.Values) > 0 {
			out = append(out, set)
		}
	}
	return out
}
