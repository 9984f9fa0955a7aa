// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Apply writes the record sets of one change one after the other, each on the
// condition that it is as it was read. An error leaves the rest undone; the mark
// is there as long as the data may be.
func (p *Provider) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	doing := "writing to " + string(zone.Name)
	at, err := placeOf(zone)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", doing, err)
	case len(changes) == 0:
		return "", nil
	case len(changes) > 1:
		return "", fmt.Errorf("%s: %w: %d changes, and Azure DNS takes one", doing, dns.ErrTooLarge, len(changes))
	}
	writes := changes[0].Writes()
	sets := make([]armdns.RecordSet, len(writes))
	for i, w := range writes {
		// All are looked at before the first is written.
		if sets[i], err = prepare(zone, changes[0], w); err != nil {
			return "", fmt.Errorf("%s: %w", doing, err)
		}
	}
	for i, w := range writes {
		if err := p.write(ctx, zone, at, w, sets[i]); err != nil {
			return "", explain(fmt.Sprintf("%s at %s", doing, w.Key()), err)
		}
	}
	return p.receipt(), nil
}

// prepare refuses what Azure never holds, as far as that can be told here.
func prepare(zone dns.Zone, c dns.Change, w dns.Write) (armdns.RecordSet, error) {
	key := w.Key()
	switch {
	case !key.Name.In(zone.Name):
		return armdns.RecordSet{}, fmt.Errorf("%w: %s is not in the zone", dns.ErrInvalid, key)
	case w.Old != nil && w.Old.Revision == "":
		return armdns.RecordSet{}, fmt.Errorf("%w: %s was not read from Azure DNS", dns.ErrStale, key)
	case w.New == nil:
		return armdns.RecordSet{}, nil
	case key.Type == dns.TypeCNAME && key.Name == zone.Name:
		return armdns.RecordSet{}, fmt.Errorf("%w: %s is the apex of its zone, where no CNAME may be", dns.ErrInvalid, key)
	}
	set, err := encode(*w.New)
	if err != nil {
		return armdns.RecordSet{}, err
	}
	withOwner(&set, w.Old, ownerIn(c, key))
	return set, nil
}

// write does one write. Its errors are the SDK's, or of package dns.
func (p *Provider) write(ctx context.Context, zone dns.Zone, at place, w dns.Write, set armdns.RecordSet) error {
	name, typ := w.Key().Name.Relative(zone.Name), armdns.RecordType(w.Key().Type)
	if w.New == nil {
		var answer *http.Response
		_, err := p.sets.Delete(policy.WithCaptureResponse(ctx, &answer), at.group, at.zone, name, typ,
			&armdns.RecordSetsClientDeleteOptions{IfMatch: to.Ptr(w.Old.Revision)})
		if err == nil && answer != nil && answer.StatusCode == http.StatusNoContent {
			// The SDK takes it for success.
			return fmt.Errorf("%w: it is not there any more", dns.ErrStale)
		}
		return err
	}
	options := &armdns.RecordSetsClientCreateOrUpdateOptions{IfNoneMatch: to.Ptr("*")}
	if w.Old != nil {
		options = &armdns.RecordSetsClientCreateOrUpdateOptions{IfMatch: to.Ptr(w.Old.Revision)}
	}
	_, err := p.sets.CreateOrUpdate(ctx, at.group, at.zone, name, typ, set, options)
	return err
}
