// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rfc2136

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	mdns "github.com/miekg/dns"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxMessage leaves room for a signature in the 65,535 octets of TCP.
const maxMessage = 65000

// beside are the types that keep a CNAME from standing at a name. DNSSEC's own
// may be there.
var beside = []uint16{
	mdns.TypeA, mdns.TypeAAAA, mdns.TypeTXT, mdns.TypeMX, mdns.TypeNS, mdns.TypeSRV, mdns.TypeCAA, mdns.TypeDNAME, mdns.TypePTR,
	mdns.TypeHTTPS, mdns.TypeSVCB, mdns.TypeTLSA, mdns.TypeSSHFP, mdns.TypeNAPTR, mdns.TypeLOC, mdns.TypeDS, mdns.TypeHINFO,
	mdns.TypeRP, mdns.TypeURI, mdns.TypeSPF, mdns.TypeSMIMEA, mdns.TypeOPENPGPKEY, mdns.TypeCERT,
}

// Apply sends all changes as one update. The receipt is the zone's serial.
func (p *Provider) Apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	receipt, err := p.apply(ctx, zone, changes)
	if err != nil {
		return "", fmt.Errorf("updating %s at %s: %w", zone.Name, p.options.Server, err)
	}
	return receipt, nil
}

func (p *Provider) apply(ctx context.Context, zone dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	records := 0
	for _, c := range changes {
		records += c.Records()
	}
	if len(changes) > 1 && (len(changes) > maxChanges || records > maxRecords) {
		return "", dns.ErrTooLarge
	}
	update := new(mdns.Msg).SetUpdate(zone.Name.FQDN())
	for _, c := range changes {
		if err := add(update, zone, c); err != nil {
			return "", err
		}
	}
	if update.Len() > maxMessage {
		if len(changes) > 1 {
			return "", dns.ErrTooLarge
		}
		return "", fmt.Errorf("%s takes more than one message: %w", changes[0].Name, dns.ErrInvalid)
	}
	c, err := p.dial(ctx, p.options.Server, true)
	if err != nil {
		return "", err
	}
	defer c.close()
	answer, err := c.exchange(ctx, update)
	if err != nil {
		return "", p.explain(ctx, zone.Name, err)
	}
	if answer.Rcode == mdns.RcodeRefused {
		return "", p.whatIsRefused(ctx, c, zone)
	}
	if err := refusal(answer.Rcode); err != nil {
		return "", err
	}
	// The update is done: without a serial, Spread compares servers.
	serial, err := p.soa(zone.Name, func(q *mdns.Msg) (*mdns.Msg, error) { return c.exchange(ctx, q) })
	if err != nil {
		return "", nil //nolint:nilerr // What was asked for has happened.
	}
	return dns.Receipt(strconv.FormatUint(uint64(serial), 10)), nil
}

// whatIsRefused tells a key that may not write from a record that the server does
// not want, such as an address at a name with an underscore: an update that does
// nothing is refused to the former only.
func (p *Provider) whatIsRefused(ctx context.Context, c *connection, zone dns.Zone) error {
	answer, err := c.exchange(ctx, new(mdns.Msg).SetUpdate(zone.Name.FQDN()))
	if err != nil {
		return err
	}
	if answer.Rcode == mdns.RcodeSuccess {
		return fmt.Errorf("%w: the server says REFUSED, of this update and not of others", dns.ErrInvalid)
	}
	return refusal(answer.Rcode)
}

// refusal is what an answer's code means (RFC 2136 §2.2).
func refusal(rcode int) error {
	says := "the server says " + mdns.RcodeToString[rcode]
	switch rcode {
	case mdns.RcodeSuccess:
		return nil
	case mdns.RcodeYXRrset, mdns.RcodeNXRrset, mdns.RcodeYXDomain, mdns.RcodeNameError:
		return fmt.Errorf("%w: %s", dns.ErrStale, says)
	case mdns.RcodeNotAuth:
		return fmt.Errorf("%w: %s", dns.ErrNoZone, says)
	case mdns.RcodeRefused:
		return fmt.Errorf("%w: %s", dns.ErrCredentials, says)
	case mdns.RcodeNotZone, mdns.RcodeFormatError:
		return fmt.Errorf("%w: %s", dns.ErrInvalid, says)
	}
	return fmt.Errorf("%s", says)
}

// add puts a change into an update: what it expects into the prerequisites, then
// what goes, then what comes.
func add(update *mdns.Msg, zone dns.Zone, c dns.Change) error {
	gone := map[dns.Key]bool{}
	for _, d := range c.Delete {
		rrs, err := observed(d)
		if err != nil {
			return err
		}
		gone[d.Key] = true
		update.Used(rrs)
		update.RemoveRRset(rrs[:1])
	}
	for _, s := range c.Create {
		if err := check(zone, s); err != nil {
			return err
		}
		rrs, err := records(s)
		if err != nil {
			return err
		}
		if !gone[s.Key] {
			update.RRsetNotUsed(rrs[:1])
		}
		alone(update, s, gone)
		update.Insert(rrs)
	}
	return nil
}

// alone keeps CNAMEs and other types apart. Servers skip such an insert without
// a word (RFC 2136 §3.4.2.2), so it has to be a prerequisite.
func alone(update *mdns.Msg, s dns.RecordSet, gone map[dns.Key]bool) {
	absent := func(rrtype uint16) {
		key := dns.Key{Name: s.Name, Type: dns.Type(mdns.TypeToString[rrtype])}
		if !gone[key] {
			update.RRsetNotUsed([]mdns.RR{&mdns.ANY{Hdr: mdns.RR_Header{Name: s.Name.FQDN(), Rrtype: rrtype, Class: mdns.ClassINET}}})
		}
	}
	if s.Type != dns.TypeCNAME {
		absent(mdns.TypeCNAME)
		return
	}
	for _, rrtype := range beside {
		absent(rrtype)
	}
}

// observed is the records of what was seen, as they were seen.
func observed(d dns.Observed) ([]mdns.RR, error) {
	raw, ok := d.Raw.([]mdns.RR)
	if !ok {
		var err error
		if raw, err = records(d.RecordSet); err != nil {
			return nil, err
		}
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("deleting %s, which has no values: %w", d.Key, dns.ErrInvalid)
	}
	out := slices.Clone(raw)
	for i := range out {
		// Used and RemoveRRset write to headers, and d may be used again.
		out[i] = mdns.Copy(out[i])
	}
	return out, nil
}

// check refuses what no server can hold.
func check(zone dns.Zone, s dns.RecordSet) error {
	switch {
	case !s.Name.In(zone.Name):
		return fmt.Errorf("%s is not in the zone: %w", s.Name, dns.ErrInvalid)
	case s.Identifier != "" || s.Routing != nil || s.Alias != nil:
		return fmt.Errorf("%s: name servers have no aliases and no routed groups: %w", s.Key, dns.ErrInvalid)
	case s.Type == dns.TypeCNAME && s.Name == zone.Name:
		return fmt.Errorf("%s: a CNAME cannot stand at the apex: %w", s.Key, dns.ErrInvalid)
	case len(s.Values) == 0:
		return fmt.Errorf("%s has no values: %w", s.Key, dns.ErrInvalid)
	case s.TTL > maxTTL:
		return fmt.Errorf("%s has a TTL of %d seconds: %w", s.Key, s.TTL, dns.ErrInvalid)
	}
	return nil
}
