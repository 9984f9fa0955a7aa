// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory is a model of a DNS provider: zones in memory with all the rules
// that package dns asks of a provider, strictly kept. It says what the contract
// means where vendors' documents are vague, stands behind the name server of
// tests and demo, and can be told to fail at any call.
package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxTTL is the largest TTL of RFC 2181 §8, in seconds.
const maxTTL = 1<<31 - 1

// Options are what providers differ in.
type Options struct {
	Capabilities dns.Capabilities
	// Aliases: a host name becomes an alias, and may stand at an apex. Otherwise
	// it becomes a CNAME.
	Aliases bool
	// Refuse says why a record set is never accepted; nil accepts all.
	Refuse func(dns.RecordSet) error
}

// Method is one that makes a call.
type Method string

// The methods that can fail.
const (
	MethodZones  Method = "Zones"
	MethodRead   Method = "Read"
	MethodApply  Method = "Apply"
	MethodSpread Method = "Spread"
)

// Call is one call of a provider, before it is served.
type Call struct {
	Method Method
	// Number counts all calls, from 1.
	Number  int
	Zone    dns.Zone
	Names   []dns.Name
	Changes []dns.Change
}

// Fault makes a call fail with Err. Writes of an Apply that come first are done
// nevertheless: as many as Writes says, or all where it is negative (the answer
// was lost). A provider that is atomic does all or none.
type Fault struct {
	Err    error
	Writes int
}

// Count is how often a provider was called.
type Count struct {
	Zones, Read, Apply, Spread int
	// Names were read, Changes applied, Writes of single record sets done.
	Names, Changes, Writes int
}

// Provider keeps zones in memory. Safe for concurrent use.
type Provider struct {
	options Options

	mu       sync.Mutex
	zones    map[string]*zone
	fault    func(Call) *Fault
	count    Count
	calls    int
	revision int
}

var _ dns.Provider = (*Provider)(nil)

// New makes a provider that has the given zones.
func New(o Options, zones ...dns.Zone) *Provider {
	p := &Provider{options: o, zones: map[string]*zone{}}
	for _, z := range zones {
		p.zones[z.ID] = newZone(z)
	}
	return p
}

// Fail lets f decide about each call from now on; a nil Fault lets it pass, and a
// nil f all.
func (p *Provider) Fail(f func(Call) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Count is how often the provider was called so far.
func (p *Provider) Count() Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Put writes a record set behind the back of everybody, whatever was there. It
// panics where the zone is not there.
func (p *Provider) Put(zoneID string, set dns.RecordSet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(p.zones[zoneID], dns.Write{New: &set})
}

// Remove takes a record set away behind the back of everybody.
func (p *Provider) Remove(zoneID string, key dns.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.zones[zoneID].remove(key)
}

// Drop takes a zone away, and all that is in it.
func (p *Provider) Drop(zoneID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.zones, zoneID)
}

// Dump is all that is in a zone but its SOA and apex NS, in order of keys.
func (p *Provider) Dump(zoneID string) []dns.RecordSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []dns.RecordSet
	for _, sets := range p.zones[zoneID].names {
		for _, o := range sets {
			out = append(out, o.RecordSet)
		}
	}
	slices.SortFunc(out, func(a, b dns.RecordSet) int { return a.Compare(b.Key) })
	return out
}

// Capabilities are those of the options.
func (p *Provider) Capabilities() dns.Capabilities { return p.options.Capabilities }

// Zones lists the zones, in order of their ids.
func (p *Provider) Zones(ctx context.Context) ([]dns.Zone, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count.Zones++
	if _, err := p.begin(ctx, Call{Method: MethodZones}); err != nil {
		return nil, fmt.Errorf("listing the zones: %w", err)
	}
	var out []dns.Zone
	for _, id := range slices.Sorted(maps.Keys(p.zones)) {
		out = append(out, p.zones[id].Zone)
	}
	return out, nil
}

// Read is what is at names.
func (p *Provider) Read(ctx context.Context, at dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count.Read++
	p.count.Names += len(names)
	if _, err := p.begin(ctx, Call{Method: MethodRead, Zone: at, Names: names}); err != nil {
		return nil, fmt.Errorf("reading %s: %w", at.Name, err)
	}
	z := p.zones[at.ID]
	if z == nil {
		return nil, fmt.Errorf("reading %s: %w", at.Name, dns.ErrNoZone)
	}
	var out []dns.Observed
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		for _, o := range z.names[n] {
			out = append(out, seen(o))
		}
	}
	slices.SortFunc(out, func(a, b dns.Observed) int { return a.Compare(b.Key) })
	return out, nil
}

// seen is what the contract lets a provider tell of a record set.
func seen(o dns.Observed) dns.Observed {
	if !slices.Contains(dns.Types(), o.Type) {
		return dns.Observed{RecordSet: dns.RecordSet{Key: o.Key}}
	}
	o.Values = slices.Clone(o.Values)
	return o
}

// Point makes addresses, or an alias or CNAME as the options say.
func (p *Provider) Point(at dns.Zone, name dns.Name, identifier string, ttl uint32, t dns.Target) ([]dns.RecordSet, error) {
	if t.Host == "" {
		return dns.Addressed(name, identifier, ttl, t.Addresses), nil
	}
	if !p.options.Aliases {
		if name == at.Name {
			return nil, fmt.Errorf("pointing the apex %s to a host name: %w", name, dns.ErrInvalid)
		}
		set, err := dns.NewRecordSet(dns.Key{Name: name, Type: dns.TypeCNAME, Identifier: identifier}, ttl, string(t.Host))
		return []dns.RecordSet{set}, err
	}
	var out []dns.RecordSet
	for _, typ := range []dns.Type{dns.TypeA, dns.TypeAAAA} {
		key := dns.Key{Name: name, Type: typ, Identifier: identifier}
		out = append(out, dns.RecordSet{Key: key, Alias: &dns.Alias{Target: t.Host, Zone: "memory"}})
	}
	return out, nil
}

// Apply carries changes out, as the contract says.
func (p *Provider) Apply(ctx context.Context, at dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count.Apply++
	receipt, err := p.apply(ctx, at, changes)
	if err != nil {
		return "", fmt.Errorf("writing to %s: %w", at.Name, err)
	}
	return receipt, nil
}

func (p *Provider) apply(ctx context.Context, at dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	fault, err := p.begin(ctx, Call{Method: MethodApply, Zone: at, Changes: changes})
	if err != nil && fault.Writes == 0 {
		return "", err
	}
	z := p.zones[at.ID]
	if z == nil {
		return "", dns.ErrNoZone
	}
	if tooLarge(p.options.Capabilities, changes) {
		return "", dns.ErrTooLarge
	}
	left := -1
	if err != nil {
		left = fault.Writes
	}
	if refusal := p.carryOut(z, changes, left); refusal != nil {
		return "", refusal
	}
	p.count.Changes += len(changes)
	return dns.Receipt(strconv.Itoa(p.revision)), err
}

// carryOut does the writes of changes; at most left of them where the provider is
// not atomic and left is not negative.
func (p *Provider) carryOut(z *zone, changes []dns.Change, left int) error {
	if p.options.Capabilities.Atomic {
		if err := p.check(z, changes); err != nil {
			return err
		}
	}
	for _, c := range changes {
		for _, w := range c.Writes() {
			if left == 0 && !p.options.Capabilities.Atomic {
				return nil
			}
			left--
			if err := p.checkAlone(z, w); err != nil {
				return err
			}
			p.write(z, w)
			p.count.Writes++
		}
	}
	return nil
}

// write does what was checked.
func (p *Provider) write(z *zone, w dns.Write) {
	if w.New == nil {
		z.remove(w.Old.Key)
		return
	}
	p.revision++
	set := *w.New
	set.Values = slices.Clone(set.Values)
	z.put(dns.Observed{RecordSet: set, Revision: strconv.Itoa(p.revision)})
}

// Spread is true at once: there is one server.
func (p *Provider) Spread(ctx context.Context, at dns.Zone, _ dns.Receipt) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count.Spread++
	if _, err := p.begin(ctx, Call{Method: MethodSpread, Zone: at}); err != nil {
		return false, fmt.Errorf("asking whether %s has spread: %w", at.Name, err)
	}
	return true, nil
}

// begin counts a call and lets it fail where that was asked for.
func (p *Provider) begin(ctx context.Context, c Call) (Fault, error) {
	if err := ctx.Err(); err != nil {
		return Fault{}, err
	}
	p.calls++
	if p.fault == nil {
		return Fault{}, nil
	}
	c.Number = p.calls
	f := p.fault(c)
	if f == nil {
		return Fault{}, nil
	}
	if f.Err == nil {
		return *f, errors.New("the connection was lost")
	}
	return *f, f.Err
}
