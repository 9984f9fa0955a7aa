// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"context"
	"fmt"
	"slices"

	clouddns "google.golang.org/api/dns/v1"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Apply sends all changes as one, which happens as a whole or not at all.
func (p *Provider) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	receipt, err := p.apply(ctx, zone, changes)
	if err != nil {
		return "", fmt.Errorf("writing to the zone %s: %w", zone.Name, err)
	}
	return receipt, nil
}

func (p *Provider) apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	body := &clouddns.Change{}
	records := 0
	for _, c := range changes {
		records += c.Records()
		for _, d := range c.Delete {
			body.Deletions = append(body.Deletions, repeat(d))
		}
		for _, s := range c.Create {
			if err := check(zone, s); err != nil {
				return "", err
			}
			body.Additions = append(body.Additions, express(s))
		}
	}
	if len(body.Additions)+len(body.Deletions) == 0 {
		return "", nil
	}
	if len(changes) > 1 && (len(changes) > maxChanges || records > maxRecords || size(body) > maxData) {
		return "", fmt.Errorf("%w: %d changes of %d records, %d octets", dns.ErrTooLarge, len(changes), records, size(body))
	}
	done, err := p.service.Changes.Create(p.project, zone.ID, body).Context(ctx).Do()
	if err != nil {
		return "", explain(err)
	}
	return dns.Receipt(done.Id), nil
}

// repeat is a deletion: what was there to the letter, since Google compares.
func repeat(o dns.Observed) *clouddns.ResourceRecordSet {
	raw, ok := o.Raw.(*clouddns.ResourceRecordSet)
	if !ok {
		return express(o.RecordSet)
	}
	return &clouddns.ResourceRecordSet{Name: raw.Name, Type: raw.Type, Ttl: raw.Ttl, Rrdatas: raw.Rrdatas,
		RoutingPolicy: raw.RoutingPolicy, ForceSendFields: []string{"Ttl"}}
}

// check refuses what Google would refuse for ever, or would take for something
// else: a CNAME at the apex is answered like one that came too late.
func check(zone dns.Zone, s dns.RecordSet) error {
	why := ""
	switch {
	case !s.Name.In(zone.Name):
		why = "it is not in this zone"
	case !slices.Contains(dns.Types(), s.Type):
		why = "Trellis does not write this type"
	case s.Type == dns.TypeCNAME && s.Name == zone.Name:
		why = "a CNAME cannot be at the apex"
	case s.Identifier != "" || s.Routing != nil || s.Alias != nil:
		why = "no routed groups and aliases"
	case len(s.Values) == 0 || len(s.Values) > maxValues:
		why = fmt.Sprintf("%d values, where 1 to %d are possible", len(s.Values), maxValues)
	case s.TTL > maxTTL:
		why = "the TTL is more than 2³¹-1 seconds"
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%s at Google Cloud DNS: %w: %s", s.Key, dns.ErrInvalid, why)
}

// size is the octets of data that count for Google's limit.
func size(c *clouddns.Change) int {
	n := 0
	for _, s := range slices.Concat(c.Additions, c.Deletions) {
		for _, v := range s.Rrdatas {
			n += len(v)
		}
	}
	return n
}
