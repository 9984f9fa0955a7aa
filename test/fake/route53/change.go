// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The limits of one batch.
const (
	maxRecords    = 1000
	maxCharacters = 32000
)

type changeRequest struct {
	XMLName xml.Name     `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ChangeResourceRecordSetsRequest"`
	Comment string       `xml:"ChangeBatch>Comment"`
	Changes []change     `xml:"ChangeBatch>Changes>Change"`
	Unknown []anyElement `xml:",any"`
}

type change struct {
	Action string
	Set    resourceRecordSet `xml:"ResourceRecordSet"`
}

// changeSets does a batch as a whole or not at all.
func (s *Server) changeSets(z *zone, body []byte) (any, *refusal) {
	var request changeRequest
	if err := xml.Unmarshal(body, &request); err != nil {
		return nil, refuse("MalformedInput", "The XML cannot be read: %v", err)
	}
	if len(request.Unknown) > 0 || len(request.Changes) == 0 {
		return nil, refuse("MalformedInput", "A change batch has one change or more, and nothing else")
	}
	for i := range request.Changes {
		c := &request.Changes[i]
		c.Set.Name = unescapeName(c.Set.Name)
		if refused := wellFormed(c); refused != nil {
			return nil, refused
		}
	}
	if message := tooLarge(request.Changes); message != "" {
		return nil, batchRefusal([]string{message})
	}
	// A copy, so that nothing happens where anything is wrong.
	next := &zone{id: z.id, name: z.name, private: z.private, sets: maps.Clone(z.sets)}
	var messages []string
	for _, c := range request.Changes {
		if message := next.do(c); message != "" {
			messages = append(messages, message)
		}
	}
	if len(messages) > 0 {
		return nil, batchRefusal(messages)
	}
	z.sets = next.sets
	id := fmt.Sprintf("C%014d", len(s.changes)+1)
	s.changes[id] = &submitted{at: s.Now()}
	return s.info("ChangeResourceRecordSetsResponse", id, s.changes[id]), nil
}

func batchRefusal(messages []string) *refusal {
	return &refusal{http.StatusBadRequest, "InvalidChangeBatch", "[" + strings.Join(messages, ", ") + "]", messages}
}

// tooLarge counts an UPSERT twice.
func tooLarge(changes []change) string {
	records, characters := 0, 0
	for _, c := range changes {
		times := 1
		if c.Action == "UPSERT" {
			times = 2
		}
		records += times * max(1, len(c.Set.values()))
		for _, v := range c.Set.values() {
			characters += times * len(v)
		}
	}
	switch {
	case records > maxRecords:
		return fmt.Sprintf("Number of records limit of %d exceeded.", maxRecords)
	case characters > maxCharacters:
		return fmt.Sprintf("Number of characters limit of %d exceeded.", maxCharacters)
	}
	return ""
}

// wellFormed is what is refused without looking into the zone.
func wellFormed(c *change) *refusal {
	s := &c.Set
	policies := s.policies()
	at := fmt.Sprintf("in Change with [Action=%s, Name=%s, Type=%s, SetIdentifier=%s]", c.Action, s.Name, s.Type, s.SetIdentifier)
	switch {
	case !slices.Contains([]string{"CREATE", "DELETE", "UPSERT"}, c.Action):
		return refuse("InvalidInput", "Invalid action %q", c.Action)
	case len(s.Unknown) > 0:
		return refuse("InvalidInput", "This server does not know the element %s", s.Unknown[0].XMLName.Local)
	case (s.AliasTarget == nil) == (s.ResourceRecords == nil):
		return refuse("InvalidInput", "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], but found none or more %s", at)
	case (s.TTL == nil) != (s.ResourceRecords == nil):
		return refuse("InvalidInput", "Invalid request: Missing or unexpected field 'TTL' %s", at)
	case s.TTL != nil && (*s.TTL < 0 || *s.TTL > 1<<31-1):
		return refuse("InvalidInput", "Invalid TTL %d %s", *s.TTL, at)
	case s.ResourceRecords != nil && len(s.values()) == 0:
		return refuse("InvalidInput", "Invalid request: no resource records %s", at)
	case policies > 1, (policies == 1) != (s.SetIdentifier != ""):
		return refuse("InvalidInput", "Invalid request: Expected exactly one of [Weight, Region, Failover, GeoLocation, MultiValueAnswer] with a SetIdentifier, or none of them %s", at)
	}
	return wellPlaced(s, at)
}

// continents are the codes of GeoLocation.
var continents = []string{"AF", "AN", "AS", "EU", "OC", "NA", "SA"}

// wellPlaced looks at routing and alias alone.
func wellPlaced(s *resourceRecordSet, at string) *refusal {
	switch {
	case len(s.SetIdentifier) > 128:
		return refuse("InvalidInput", "The SetIdentifier is longer than 128 characters %s", at)
	case s.Weight != nil && (*s.Weight < 0 || *s.Weight > 255):
		return refuse("InvalidInput", "The weight is not between 0 and 255 %s", at)
	}
	if a := s.AliasTarget; a != nil && (a.DNSName == "" || a.HostedZoneID == "" || a.EvaluateTargetHealth == nil) {
		return refuse("InvalidInput", "The alias target lacks a field %s", at)
	}
	if s.GeoLocation == nil {
		return nil
	}
	return located(s.GeoLocation, at)
}

func located(g *geoLocation, at string) *refusal {
	switch {
	case len(g.Unknown) > 0, (g.ContinentCode == "") == (g.CountryCode == ""),
		g.SubdivisionCode != "" && g.CountryCode == "":
		return refuse("InvalidInput", "A location is a continent, or a country with or without a subdivision %s", at)
	case g.ContinentCode != "" && !slices.Contains(continents, g.ContinentCode),
		g.CountryCode != "" && g.CountryCode != "*" && len(g.CountryCode) != 2,
		g.SubdivisionCode != "" && !slices.Contains([]string{"US", "CA", "UA"}, g.CountryCode):
		return refuse("NoSuchGeoLocation", "The geolocation does not exist %s", at)
	}
	return nil
}

// describe is a record set as messages name it.
func (s *resourceRecordSet) describe() string {
	if s.SetIdentifier == "" {
		return fmt.Sprintf("[name='%s', type='%s']", escapeName(s.Name), s.Type)
	}
	return fmt.Sprintf("[name='%s', type='%s', set identifier='%s']", escapeName(s.Name), s.Type, s.SetIdentifier)
}

// do does one change, or says why not.
func (z *zone) do(c change) string {
	there := z.sets[c.Set.key()]
	if c.Action == "DELETE" {
		switch {
		case there == nil:
			return fmt.Sprintf("Tried to delete resource record set %s but it was not found", c.Set.describe())
		case !same(there, &c.Set):
			return fmt.Sprintf("Tried to delete resource record set %s but the values provided do not match the current values", c.Set.describe())
		case c.Set.Name == z.name && (c.Set.Type == "NS" || c.Set.Type == "SOA"):
			return fmt.Sprintf("A HostedZone must contain exactly one %s record for the zone itself.", c.Set.Type)
		}
		delete(z.sets, c.Set.key())
		return ""
	}
	if c.Action == "CREATE" && there != nil {
		return fmt.Sprintf("Tried to create resource record set %s but it already exists", c.Set.describe())
	}
	if message := z.fits(&c.Set); message != "" {
		return message
	}
	set := c.Set
	z.sets[set.key()] = &set
	return ""
}

// same compares all that a DELETE must repeat. The order of values does not matter.
func same(a, b *resourceRecordSet) bool {
	number := func(p *int64) int64 {
		if p == nil {
			return -1
		}
		return *p
	}
	if number(a.TTL) != number(b.TTL) || number(a.Weight) != number(b.Weight) || a.policy() != b.policy() ||
		!slices.Equal(slices.Sorted(slices.Values(a.values())), slices.Sorted(slices.Values(b.values()))) {
		return false
	}
	if g, h := a.GeoLocation, b.GeoLocation; g != nil && location(g) != location(h) {
		return false
	}
	x, y := a.AliasTarget, b.AliasTarget
	if x == nil || y == nil {
		return x == nil && y == nil
	}
	return x.HostedZoneID == y.HostedZoneID && unescapeName(x.DNSName) == unescapeName(y.DNSName) && *x.EvaluateTargetHealth == *y.EvaluateTargetHealth
}

func location(g *geoLocation) string {
	return g.ContinentCode + "/" + g.CountryCode + "/" + g.SubdivisionCode
}

// fits holds a record set against the zone and what is in it.
func (z *zone) fits(s *resourceRecordSet) string {
	if s.Name != z.name && !strings.HasSuffix(s.Name, "."+z.name) {
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", escapeName(s.Name), z.name)
	}
	if s.Type == "CNAME" && s.Name == z.name {
		return fmt.Sprintf("RRSet of type CNAME with DNS name %s is not permitted at apex in zone %s", s.Name, z.name)
	}
	if message := invalidName(s.Name); message != "" {
		return message
	}
	for k, other := range z.sets {
		if k.name != s.Name || k == s.key() {
			continue
		}
		if message := z.clash(s, k, other); message != "" {
			return message
		}
	}
	if s.AliasTarget != nil {
		return z.invalidAlias(s)
	}
	return invalidValues(s)
}

// clash is why a record set cannot be beside another one at its name.
func (z *zone) clash(s *resourceRecordSet, k key, other *resourceRecordSet) string {
	switch {
	case s.Type == "CNAME" && k.typ != "CNAME":
		return fmt.Sprintf("RRSet of type CNAME with DNS name %s is not permitted as it conflicts with other records with the same DNS name in zone %s", escapeName(s.Name), z.name)
	case s.Type != "CNAME" && k.typ == "CNAME":
		return fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted because a conflicting RRSet of type CNAME with the same DNS name already exists in zone %s", s.Type, escapeName(s.Name), z.name)
	case k.typ == s.Type && other.policy() != s.policy():
		return fmt.Sprintf("RRSet with DNS name %s, type %s%s cannot be created as other RRSets exist with the same name and type.", escapeName(s.Name), s.Type, identified(s))
	case k.typ == s.Type && s.GeoLocation != nil && location(s.GeoLocation) == location(other.GeoLocation):
		return fmt.Sprintf("RRSet with DNS name %s, type %s%s cannot be created as a geolocation RRSet with the same name, type, and location exists", escapeName(s.Name), s.Type, identified(s))
	}
	return ""
}

func identified(s *resourceRecordSet) string {
	if s.SetIdentifier == "" {
		return ""
	}
	return ", SetIdentifier " + s.SetIdentifier
}
