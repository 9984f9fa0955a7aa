// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"fmt"
	"math"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// everywhere is the country code of the location that is for everybody else.
const everywhere = "*"

// encode is a record set as Route 53 takes it.
func encode(s dns.RecordSet) (*types.ResourceRecordSet, error) {
	out := &types.ResourceRecordSet{Name: aws.String(escapeName(string(s.Name)) + "."), Type: types.RRType(s.Type)}
	if s.Identifier != "" {
		out.SetIdentifier = aws.String(s.Identifier)
	}
	if err := encodeRouting(out, s.Routing); err != nil {
		return nil, fmt.Errorf("writing %s: %w", s.Key, err)
	}
	if s.Alias != nil {
		out.AliasTarget = &types.AliasTarget{
			DNSName: aws.String(string(s.Alias.Target) + "."), HostedZoneId: aws.String(s.Alias.Zone),
			// A member of a group leaves it while its load balancer has no healthy
			// target. Alone there is nobody to take its place.
			EvaluateTargetHealth: s.Routing != nil && s.Alias.Zone != cloudFront,
		}
		return out, nil
	}
	out.TTL = aws.Int64(int64(s.TTL))
	for _, v := range s.Values {
		switch s.Type {
		case dns.TypeTXT:
			v = quote(v)
		case dns.TypeCNAME:
			v = escapeName(v) + "."
		}
		out.ResourceRecords = append(out.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	return out, nil
}

func encodeRouting(out *types.ResourceRecordSet, r *dns.Routing) error {
	if r == nil {
		return nil
	}
	if (r.Weight == nil) == (r.Location == nil) {
		return fmt.Errorf("%w: routing is by weight or by location", dns.ErrInvalid)
	}
	if r.Weight != nil {
		out.Weight = aws.Int64(int64(*r.Weight))
		return nil
	}
	out.GeoLocation = &types.GeoLocation{}
	for _, field := range []struct {
		to    **string
		value string
	}{
		{&out.GeoLocation.ContinentCode, r.Location.Continent},
		{&out.GeoLocation.CountryCode, r.Location.Country},
		{&out.GeoLocation.SubdivisionCode, r.Location.Subdivision},
	} {
		if field.value != "" {
			*field.to = aws.String(field.value)
		}
	}
	if r.Location.Default {
		out.GeoLocation = &types.GeoLocation{CountryCode: aws.String(everywhere)}
	}
	return nil
}

// decode reads a record set. What it has besides, such as a health check, is in
// Raw, which a DELETE repeats.
func decode(name dns.Name, s types.ResourceRecordSet) dns.Observed {
	key := dns.Key{Name: name, Type: dns.Type(s.Type), Identifier: aws.ToString(s.SetIdentifier)}
	if !slices.Contains(dns.Types(), key.Type) {
		return dns.Observed{RecordSet: dns.RecordSet{Key: key}, Raw: s}
	}
	set := decodeValues(key, s)
	set.Routing = decodeRouting(s)
	if a := s.AliasTarget; a != nil {
		target := unescape(aws.ToString(a.DNSName))
		if n, err := dns.ParseName(target); err == nil {
			target = string(n)
		}
		set.Alias = &dns.Alias{Target: dns.Name(target), Zone: aws.ToString(a.HostedZoneId)}
	}
	return dns.Observed{RecordSet: set, Raw: s}
}

func decodeValues(key dns.Key, s types.ResourceRecordSet) dns.RecordSet {
	var values []string
	for _, r := range s.ResourceRecords {
		v := aws.ToString(r.Value)
		if key.Type == dns.TypeTXT {
			v = unquote(v)
		}
		values = append(values, v)
	}
	ttl := uint32(min(max(aws.ToInt64(s.TTL), 0), math.MaxInt32))
	set, err := dns.NewRecordSet(key, ttl, values...)
	if err != nil {
		// Somebody else's, in a form that is not ours: shown as it is.
		return dns.RecordSet{Key: key, TTL: ttl, Values: values}
	}
	return set
}

// decodeRouting is nil where there is none, or none that package dns can say.
func decodeRouting(s types.ResourceRecordSet) *dns.Routing {
	switch g := s.GeoLocation; {
	case s.Weight != nil && *s.Weight >= 0 && *s.Weight <= math.MaxUint8:
		return &dns.Routing{Weight: aws.Uint8(uint8(*s.Weight))}
	case g != nil && aws.ToString(g.CountryCode) == everywhere:
		return &dns.Routing{Location: &dns.Location{Default: true}}
	case g != nil:
		return &dns.Routing{Location: &dns.Location{
			Continent: aws.ToString(g.ContinentCode), Country: aws.ToString(g.CountryCode), Subdivision: aws.ToString(g.SubdivisionCode),
		}}
	}
	return nil
}
