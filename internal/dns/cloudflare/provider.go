// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Limits. A batch has up to 200 operations in the free plan
// (https://developers.cloudflare.com/dns/manage-dns-records/how-to/batch-record-changes/);
// more in others, which is not asked for. Each record set that is written may need
// two more for its mark, so fewer changes than that are promised.
const (
	maxOperations = 200
	maxChanges    = 40
	maxRecords    = 100
	// TTLs in seconds, but for ttlAutomatic, which Cloudflare takes as autoTTL.
	minTTL, maxTTL        = 60, 86_400
	ttlAutomatic, autoTTL = 1, 300
	callTimeout           = 30 * time.Second
)

// Endpoint is the service's address.
const Endpoint = "https://api.cloudflare.com/client/v4"

// Options say who asks.
type Options struct {
	// Token is an API token with the rights Zone Read and DNS Write. Space around it
	// is ignored.
	Token string
	// Endpoint is the address with the version; empty takes Endpoint.
	Endpoint string
	// Transport makes all calls; nil takes http.DefaultTransport.
	Transport http.RoundTripper
	// Settle is how long after a write all servers are taken to have it: Cloudflare
	// gives no sign, and says that it takes seconds. 5 seconds where it is zero.
	Settle time.Duration
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}

// Provider is what a token can see.
type Provider struct {
	client client
	settle time.Duration
	now    func() time.Time
	// writing has a place for one for each zone, by id.
	writing sync.Map
}

var _ dns.Provider = (*Provider)(nil)

// New makes a provider. It makes no call; the error is ErrCredentials where the
// token can be none.
func New(o Options) (*Provider, error) {
	token := strings.TrimSpace(o.Token)
	strange := strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' })
	if token == "" || strange {
		return nil, fmt.Errorf("reading the token for Cloudflare: %w: it is empty, or has characters that no token has", dns.ErrCredentials)
	}
	base, err := url.Parse(cmp.Or(o.Endpoint, Endpoint))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("reading the address of Cloudflare's API: %q is none", o.Endpoint)
	}
	p := &Provider{settle: cmp.Or(o.Settle, 5*time.Second), now: o.Now}
	if p.now == nil {
		p.now = time.Now
	}
	p.client = client{base: base, token: token, http: &http.Client{
		Transport: o.Transport, Timeout: callTimeout,
		// The API redirects nobody. Who does is somebody else, and gets no token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return p, nil
}

// Capabilities are those of one batch.
func (p *Provider) Capabilities() dns.Capabilities {
	return dns.Capabilities{Atomic: true, FlattensApex: true, MaxChanges: maxChanges, MaxRecords: maxRecords}
}

// zoneInfo is the resource, as far as it matters.
type zoneInfo struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
	Type   string `json:"type"`
}

// Zones lists the zones that are active or about to be. Secondary zones, which are
// written to elsewhere, and zones that have moved away are left out.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	var out []dns.Zone
	err := pages(ctx, p.client, "zones", url.Values{"per_page": {"50"}}, func(z zoneInfo) {
		name, err := dns.ParseName(z.Name)
		writable := z.Type == "full" || z.Type == "partial" || z.Type == "internal"
		present := z.Status == "active" || z.Status == "pending" || z.Status == "initializing"
		if err == nil && writable && present {
			out = append(out, dns.Zone{ID: z.ID, Name: name, Private: z.Type == "internal"})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing the zones at Cloudflare: %w", err)
	}
	return out, nil
}

// Point makes addresses, or a CNAME, which Cloudflare flattens at an apex. The TTL
// is brought within Cloudflare's limits.
func (p *Provider) Point(_ dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	if identifier != "" {
		return nil, fmt.Errorf("pointing %s: %w: Cloudflare DNS has no routed groups", name, dns.ErrInvalid)
	}
	ttl = min(max(ttl, minTTL), maxTTL)
	if t.Host == "" {
		return dns.Addressed(name, "", ttl, t.Addresses), nil
	}
	set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME}, ttl, string(t.Host))
	if err != nil {
		return nil, fmt.Errorf("pointing %s: %w: %w", name, dns.ErrInvalid, err)
	}
	return []dns.RecordSet{set}, nil
}

// Spread reports whether the time is over that a change takes to reach all servers.
// The receipt is when it was written.
func (p *Provider) Spread(ctx context.Context, zone dns.Zone, r dns.Receipt) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("asking whether a change of %s has spread: %w", zone.Name, err)
	}
	written, err := time.Parse(time.RFC3339Nano, string(r))
	return err != nil || p.now().Sub(written) >= p.settle, nil
}

// lock waits until nobody else of this process writes to a zone.
func (p *Provider) lock(ctx context.Context, zone dns.Zone) (unlock func(), err error) {
	entry, _ := p.writing.LoadOrStore(zone.ID, make(chan struct{}, 1))
	place, ok := entry.(chan struct{})
	if !ok {
		return nil, fmt.Errorf("waiting for the zone %s: %T is no place to wait at", zone.Name, entry)
	}
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
