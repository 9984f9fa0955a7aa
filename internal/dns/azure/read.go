// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

const (
	// pageSize is the most that one answer of a list holds.
	pageSize = 100
	// getsPerPage is how many record sets can be got for one page of a list: the
	// quotas are 1,000 and 60 a minute ("Azure DNS limits").
	getsPerPage = 16
	// parallel is how many record sets are got at once.
	parallel = 8
)

// place is a zone as the API addresses it.
type place struct{ group, zone string }

func placeOf(z dns.Zone) (place, error) {
	id, err := arm.ParseResourceID(z.ID)
	if err != nil {
		return place{}, fmt.Errorf("%w: %q is no resource id of Azure", dns.ErrNoZone, z.ID)
	}
	return place{id.ResourceGroupName, id.Name}, nil
}

// Read asks the zone for its size, and then lists it or gets the names one by one,
// whichever takes less of its quota: a name is got type by type, since the API
// knows no other way.
func (p *Provider) Read(ctx context.Context, zone dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	doing := "reading " + string(zone.Name)
	at, err := placeOf(zone)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	z, err := p.zones.Get(ctx, at.group, at.zone, nil)
	if err != nil {
		return nil, explain(doing, err)
	}
	asked := map[dns.Name]bool{}
	for _, n := range names {
		// Azure takes an asterisk as a whole label only.
		asked[n] = n.In(zone.Name) && !n.Starred()
	}
	pages := 1
	if z.Properties != nil && z.Properties.NumberOfRecordSets != nil {
		pages = int(*z.Properties.NumberOfRecordSets)/pageSize + 1
	}
	read := p.list
	if len(asked)*len(armdns.PossibleRecordTypeValues()) < pages*getsPerPage {
		read = p.get
	}
	out, err := read(ctx, zone, at, asked)
	if err != nil {
		return nil, explain(doing, err)
	}
	slices.SortFunc(out, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return out, nil
}

// list reads the whole zone.
func (p *Provider) list(ctx context.Context, zone dns.Zone, at place, asked map[dns.Name]bool) ([]dns.Observed, error) {
	var out []dns.Observed
	options := &armdns.RecordSetsClientListAllByDNSZoneOptions{Top: to.Ptr(int32(pageSize))}
	for pages := p.sets.NewListAllByDNSZonePager(at.group, at.zone, options); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Value {
			if o, ok := decode(zone, s); ok && asked[o.Name] {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// get reads each name and type.
func (p *Provider) get(ctx context.Context, zone dns.Zone, at place, asked map[dns.Name]bool) ([]dns.Observed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var out []dns.Observed
	var all sync.WaitGroup
	places := make(chan struct{}, parallel)
	for name, in := range asked {
		for _, typ := range armdns.PossibleRecordTypeValues() {
			if !in || typ == armdns.RecordTypeSOA && name != zone.Name {
				continue
			}
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				if ctx.Err() != nil {
					return
				}
				o, ok, err := p.getOne(ctx, zone, at, name, typ)
				if err != nil {
					// The first error is the one that is told.
					cancel(err)
				}
				if ok {
					mu.Lock()
					defer mu.Unlock()
					out = append(out, o)
				}
			})
		}
	}
	all.Wait()
	return out, context.Cause(ctx)
}

func (p *Provider) getOne(ctx context.Context, zone dns.Zone, at place, name dns.Name, typ armdns.RecordType) (dns.Observed, bool, error) {
	got, err := p.sets.Get(ctx, at.group, at.zone, name.Relative(zone.Name), typ, nil)
	var answer *azcore.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound && answer.ErrorCode == "NotFound":
		return dns.Observed{}, false, nil
	case err != nil:
		return dns.Observed{}, false, err
	}
	o, ok := decode(zone, &got.RecordSet)
	return o, ok, nil
}
