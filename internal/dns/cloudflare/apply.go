// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Apply sends all changes as one batch, which happens as a whole or not at all. An
// error after the batch (the answer was lost, or somebody else wrote in the same
// moment) says so; the next Read shows what is there.
func (p *Provider) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	receipt, err := p.apply(ctx, zone, changes)
	if err != nil {
		return "", fmt.Errorf("writing to the zone %s: %w", zone.Name, err)
	}
	return receipt, nil
}

func (p *Provider) apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	if err := check(zone, changes); err != nil {
		return "", err
	}
	unlock, err := p.lock(ctx, zone)
	if err != nil {
		return "", err
	}
	defer unlock()
	touched := names(changes)
	is, err := p.records(ctx, zone, touched)
	if err != nil {
		return "", err
	}
	made, err := makeBatch(zone, is, changes)
	if err != nil {
		return "", err
	}
	if made.size() == 0 {
		return "", nil
	}
	if made.size() > maxOperations {
		kind := dns.ErrTooLarge
		if len(changes) == 1 {
			kind = dns.ErrInvalid
		}
		return "", fmt.Errorf("%w: %d operations, of which Cloudflare takes %d at once", kind, made.size(), maxOperations)
	}
	path := "zones/" + url.PathEscape(zone.ID) + "/dns_records/batch"
	answer, err := call[written](ctx, p.client, http.MethodPost, path, nil, made.batch)
	if err != nil {
		return "", err
	}
	receipt := dns.Receipt(p.now().UTC().Format(time.RFC3339Nano))
	if err := made.compare(answer.Result); err != nil {
		return "", err
	}
	after, err := p.records(ctx, zone, touched)
	if err != nil {
		return "", fmt.Errorf("looking after the write whether somebody else wrote too: %w", err)
	}
	return receipt, made.look(answer.Result, after)
}

// check refuses what Cloudflare would refuse for ever, or would take for something
// else: a name outside the zone is taken for one inside.
func check(zone dns.Zone, changes []dns.Change) error {
	records := 0
	for _, c := range changes {
		records += c.Records()
		for _, s := range c.Create {
			if why := wrong(zone, s); why != "" {
				return fmt.Errorf("%s at Cloudflare: %w: %s", s.Key, dns.ErrInvalid, why)
			}
		}
	}
	if len(changes) > 1 && (len(changes) > maxChanges || records > maxRecords) {
		return fmt.Errorf("%w: %d changes of %d records", dns.ErrTooLarge, len(changes), records)
	}
	return nil
}

func wrong(zone dns.Zone, s dns.RecordSet) string {
	switch {
	case !s.Name.In(zone.Name):
		return "it is not in this zone"
	case !slices.Contains(dns.Types(), s.Type):
		return "Trellis does not write this type"
	case s.Identifier != "" || s.Routing != nil || s.Alias != nil:
		return "no routed groups and aliases"
	case len(s.Values) == 0:
		return "it has no values"
	case s.TTL < minTTL || s.TTL > maxTTL:
		return fmt.Sprintf("a TTL of %d seconds, where %d to %d are possible", s.TTL, minTTL, maxTTL)
	}
	return ""
}

// written is the answer to a batch: the records as they were deleted, and as they
// are.
type written struct {
	Deletes []record `json:"deletes"`
	Patches []record `json:"patches"`
	Posts   []record `json:"posts"`
}

// compare finds what was deleted and was not what was compared.
func (m *maker) compare(w written) error {
	was := map[string]record{}
	for _, records := range m.is {
		for _, r := range records {
			was[r.ID] = r
		}
	}
	for _, r := range w.Deletes {
		if old, ok := was[r.ID]; ok && r.Content != "" && (r.Content != old.Content || r.TTL != old.TTL) {
			return fmt.Errorf("%w: in the moment of the write %s %s had become %q, and is deleted", dns.ErrStale, r.Name, r.Type, r.Content)
		}
	}
	return nil
}

// look finds what somebody else wrote to the same record sets meanwhile. What is
// missing is not looked for: nothing that it would be confused with is there.
func (m *maker) look(w written, after held) error {
	expected := m.expected
	for _, r := range w.Posts {
		expected[r.ID] = r.value()
	}
	for key := range m.touched {
		for _, r := range after.at(key) {
			if value, ours := expected[r.ID]; !ours || value != r.value() {
				return fmt.Errorf("%w: in the moment of the write somebody else made %s %s %q", dns.ErrStale, r.Name, r.Type, r.Content)
			}
		}
	}
	return nil
}
