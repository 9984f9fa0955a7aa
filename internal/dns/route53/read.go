// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// pageSize is the most that one answer holds.
const pageSize = 300

// position is where a name is in the service's order: labels from the top down,
// with a dot at the end. The reference leaves open whether a star counts as such
// or as the escape \052, so both are kept, and one name is after another only
// where both say so.
type position struct{ plain, escaped string }

func positionOf(name string) position {
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	plain := strings.Join(labels, ".") + "."
	return position{plain, escapeName(plain)}
}

func (p position) before(o position) bool { return p.plain < o.plain && p.escaped < o.escaped }

// asked is a name that is asked for.
type asked struct {
	name dns.Name
	at   position
}

// Read pages through the zone from one name to the next that is not known yet.
// So few names cost at most one call each, names that are near each other share
// one, and many cost what paging through the whole zone costs.
func (p *Provider) Read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	left := make([]asked, 0, len(names))
	for _, n := range names {
		left = append(left, asked{n, positionOf(string(n))})
	}
	slices.SortFunc(left, func(a, b asked) int { return strings.Compare(a.at.plain, b.at.plain) })
	left = slices.Compact(left)
	var out []dns.Observed
	for len(left) > 0 {
		found, end, err := p.readFrom(ctx, zone, left[0])
		if err != nil {
			return nil, p.explain(fmt.Sprintf("reading %s in %s", left[0].name, zone.Name), err)
		}
		start, known := left[0], map[string]dns.Name{}
		left = slices.DeleteFunc(left, func(a asked) bool {
			is := a.name == start.name || start.at.before(a.at) && (end == nil || a.at.before(*end))
			if is {
				known[string(a.name)] = a.name
			}
			return is
		})
		for _, set := range found {
			if name, is := known[unescape(aws.ToString(set.Name))]; is {
				out = append(out, decode(name, set))
			}
		}
	}
	slices.SortFunc(out, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return out, nil
}

// readFrom is all of one name, and whatever comes with it up to end; nil is the
// end of the zone.
func (p *Provider) readFrom(ctx context.Context, zone dns.Zone, from asked) (found []types.ResourceRecordSet, end *position, err error) {
	in := &route53.ListResourceRecordSetsInput{
		HostedZoneId: aws.String(zone.ID), MaxItems: aws.Int32(pageSize),
		StartRecordName: aws.String(escapeName(string(from.name)) + "."),
	}
	for {
		page, err := call(ctx, p, p.client.ListResourceRecordSets, in)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, page.ResourceRecordSets...)
		if !page.IsTruncated {
			return found, nil, nil
		}
		if next := unescape(aws.ToString(page.NextRecordName)); next != string(from.name) {
			at := positionOf(next)
			return found, &at, nil
		}
		if page.NextRecordType == in.StartRecordType &&
			aws.ToString(page.NextRecordIdentifier) == aws.ToString(in.StartRecordIdentifier) {
			return nil, nil, errAnswer
		}
		// A group at one name that is larger than a page.
		in.StartRecordName, in.StartRecordType, in.StartRecordIdentifier = page.NextRecordName, page.NextRecordType, page.NextRecordIdentifier
	}
}
