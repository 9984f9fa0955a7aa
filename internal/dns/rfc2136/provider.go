// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rfc2136 writes to name servers by dynamic update (RFC 2136), signed by
// TSIG (RFC 8945), always over TCP. What an update expects to find is in its
// prerequisites, so that the server itself compares before it swaps.
//
// A server that answers from a cache of its own, as PowerDNS does unless its
// cache-ttl and query-cache-ttl are 0, shows changes late: writes are refused as
// stale until it has caught up, and nothing is lost.
package rfc2136

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// Key is a TSIG key.
type Key struct {
	Name dns.Name
	// Algorithm is hmac-sha256 or hmac-sha512.
	Algorithm string
	// Secret is in base64, as in the configuration of name servers.
	Secret string
}

// Options say where a name server is.
type Options struct {
	// Server is the primary's host and port. It is asked and written to.
	Server string
	// Zones are those that the server allows us to write to.
	Zones []dns.Name
	// Key is nil where the server goes by addresses.
	Key *Key
	// NameServers are hosts and ports of the servers that the public asks. They
	// need not know the key.
	NameServers []string
	// Timeout is for one message and its answer; ten seconds where it is zero.
	Timeout time.Duration
	// Clock is what signatures are dated by; nil takes time.Now.
	Clock func() time.Time
}

// Limits of one update. The message itself is held to maxMessage.
const (
	maxChanges = 100
	maxRecords = 1000
)

// maxTTL is the largest TTL of RFC 2181 §8, in seconds.
const maxTTL = 1<<31 - 1

// Provider is one name server.
type Provider struct {
	options   Options
	algorithm string
	secrets   map[string]string
}

var _ dns.Provider = (*Provider)(nil)

var algorithms = map[string]string{"hmac-sha256": mdns.HmacSHA256, "hmac-sha512": mdns.HmacSHA512}

// New checks the options; it makes no call.
func New(o Options) (*Provider, error) {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	p := &Provider{options: o}
	if k := o.Key; k != nil {
		p.algorithm = algorithms[strings.ToLower(k.Algorithm)]
		if p.algorithm == "" {
			return nil, fmt.Errorf("reading the TSIG key %s: the algorithm %q is not hmac-sha256 or hmac-sha512", k.Name, k.Algorithm)
		}
		if raw, err := base64.StdEncoding.DecodeString(k.Secret); err != nil || len(raw) == 0 {
			// The cause would quote the secret.
			return nil, fmt.Errorf("reading the TSIG key %s: its secret is not in base64", k.Name)
		}
		p.secrets = map[string]string{k.Name.FQDN(): k.Secret}
	}
	return p, nil
}

// Capabilities are those of any name server: an update is atomic (RFC 2136 §3.7).
func (p *Provider) Capabilities() dns.Capabilities {
	return dns.Capabilities{Atomic: true, MaxChanges: maxChanges, MaxRecords: maxRecords}
}

// Zones are those of the options that the server answers for.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	var out []dns.Zone
	for _, name := range p.options.Zones {
		switch _, err := p.serial(ctx, name); {
		case errors.Is(err, dns.ErrNoZone):
		case err != nil:
			return nil, fmt.Errorf("asking %s for the zone %s: %w", p.options.Server, name, err)
		default:
			out = append(out, dns.Zone{ID: string(name), Name: name})
		}
	}
	return out, nil
}

// Point makes addresses or a CNAME. The apex has no CNAME, so it takes addresses
// only.
func (p *Provider) Point(zone dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	if identifier != "" {
		return nil, fmt.Errorf("pointing %s: name servers have no routed groups: %w", name, dns.ErrInvalid)
	}
	if t.Host == "" {
		return dns.Addressed(name, identifier, ttl, t.Addresses), nil
	}
	if name == zone.Name {
		return nil, fmt.Errorf("pointing the apex %s to %s: a CNAME cannot stand there; give the load balancer an address: %w", name, t.Host, dns.ErrInvalid)
	}
	set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME}, ttl, string(t.Host))
	if err != nil {
		return nil, fmt.Errorf("pointing %s: %w: %w", name, dns.ErrInvalid, err)
	}
	return []dns.RecordSet{set}, nil
}

// Spread reports whether the name servers, or the primary where none are given,
// have the serial of the receipt. Without one they must have the primary's.
func (p *Provider) Spread(ctx context.Context, zone dns.Zone, r dns.Receipt) (bool, error) {
	primary, err := p.serial(ctx, zone.Name)
	if err != nil {
		return false, fmt.Errorf("asking %s for the serial of %s: %w", p.options.Server, zone.Name, err)
	}
	want := primary
	if n, err := strconv.ParseUint(string(r), 10, 32); err == nil {
		want = uint32(n)
	}
	if before(primary, want) {
		return false, nil
	}
	for _, server := range p.options.NameServers {
		serial, err := p.serialAt(ctx, server, zone.Name)
		if err != nil {
			return false, fmt.Errorf("asking %s for the serial of %s: %w", server, zone.Name, err)
		}
		if before(serial, want) {
			return false, nil
		}
	}
	return true, nil
}

// before compares serials as RFC 1982 does.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// serial is the zone's at the primary; ErrNoZone where it has no such zone.
func (p *Provider) serial(ctx context.Context, zone dns.Name) (uint32, error) {
	serial, err := p.soa(zone, func(q *mdns.Msg) (*mdns.Msg, error) { return p.ask(ctx, q) })
	return serial, p.explain(ctx, zone, err)
}

// serialAt is the zone's at another server, which need not know the key.
func (p *Provider) serialAt(ctx context.Context, server string, zone dns.Name) (uint32, error) {
	return p.soa(zone, func(q *mdns.Msg) (*mdns.Msg, error) {
		c, err := p.dial(ctx, server, false)
		if err != nil {
			return nil, err
		}
		defer c.close()
		return c.exchange(ctx, q)
	})
}

// soa asks for a zone's SOA, and judges the answer.
func (p *Provider) soa(zone dns.Name, ask func(*mdns.Msg) (*mdns.Msg, error)) (uint32, error) {
	q := new(mdns.Msg).SetQuestion(zone.FQDN(), mdns.TypeSOA)
	q.RecursionDesired = false
	answer, err := ask(q)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(answer.Answer, func(rr mdns.RR) bool {
		return rr.Header().Rrtype == mdns.TypeSOA && mdns.CanonicalName(rr.Header().Name) == zone.FQDN()
	})
	if answer.Rcode != mdns.RcodeSuccess || !answer.Authoritative || i < 0 {
		return 0, fmt.Errorf("the server says %s and has no SOA: %w", mdns.RcodeToString[answer.Rcode], dns.ErrNoZone)
	}
	soa, ok := answer.Answer[i].(*mdns.SOA)
	if !ok {
		return 0, fmt.Errorf("the server's SOA cannot be read: %w", dns.ErrNoZone)
	}
	return soa.Serial, nil
}
