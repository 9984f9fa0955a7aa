// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Apply sends all changes as one batch: a DELETE of exactly what was observed and
// a CREATE of what is to be. The service does all of them or none.
func (p *Provider) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	doing := "writing to " + string(zone.Name)
	batch, err := encodeBatch(changes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	if len(batch) == 0 {
		return "", nil
	}
	if err := fits(batch, len(changes)); err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	out, err := call(ctx, p, p.client.ChangeResourceRecordSets, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(zone.ID), ChangeBatch: &types.ChangeBatch{Changes: batch},
	})
	if err != nil {
		return "", p.explain(doing, err)
	}
	if out.ChangeInfo == nil {
		return "", fmt.Errorf("%s: %w", doing, errAnswer)
	}
	return dns.Receipt(strings.TrimPrefix(aws.ToString(out.ChangeInfo.Id), "/change/")), nil
}

// encodeBatch puts all that goes before all that comes, since the service takes
// the changes of a batch in their order.
func encodeBatch(changes []dns.Change) ([]types.Change, error) {
	var gone, come []types.Change
	for _, c := range changes {
		for _, d := range c.Delete {
			set, err := encodeObserved(d)
			if err != nil {
				return nil, err
			}
			gone = append(gone, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: set})
		}
		for _, s := range c.Create {
			set, err := encode(s)
			if err != nil {
				return nil, err
			}
			keepHealthCheck(set, s, c.Delete)
			come = append(come, types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: set})
		}
	}
	return append(gone, come...), nil
}

// keepHealthCheck leaves a member the health check that somebody gave it.
func keepHealthCheck(set *types.ResourceRecordSet, s dns.RecordSet, gone []dns.Observed) {
	for _, d := range gone {
		if raw, ok := d.Raw.(types.ResourceRecordSet); ok && d.Key == s.Key && s.Routing != nil {
			set.HealthCheckId = raw.HealthCheckId
		}
	}
}

func encodeObserved(o dns.Observed) (*types.ResourceRecordSet, error) {
	if raw, ok := o.Raw.(types.ResourceRecordSet); ok {
		return &raw, nil
	}
	return encode(o.RecordSet)
}

// fits holds a batch against the quotas before the service does. An alias counts
// as one record.
func fits(batch []types.Change, changes int) error {
	records, characters := 0, 0
	for _, c := range batch {
		records += max(1, len(c.ResourceRecordSet.ResourceRecords))
		for _, r := range c.ResourceRecordSet.ResourceRecords {
			characters += len(aws.ToString(r.Value))
		}
	}
	if records <= maxRecords && characters <= maxCharacters {
		return nil
	}
	cause := dns.ErrTooLarge
	if changes == 1 {
		// Nothing to split it into.
		cause = dns.ErrInvalid
	}
	return fmt.Errorf("%w: %d records of at most %d, with %d characters of at most %d", cause, records, maxRecords, characters, maxCharacters)
}
