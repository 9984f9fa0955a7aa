// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/dns/rfc2136"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

const (
	dnsZone    = "example.test"
	dnsRecords = 10_000
	dnsRuns    = 5
	// dnsBulk is a change that takes several calls.
	dnsBulk = 1000
)

// dnsFigures keep a zone of many records as it should be. The peer is ExternalDNS'
// own plan, TXT registry and provider on a zone of its own, on the same kind of
// name server, as a program of its own.
func dnsFigures(ctx context.Context) ([]figure, error) {
	peer, kind, err := peerRounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("ExternalDNS, %w", err)
	}
	ours, err := ownRounds(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("our engine, %w", err)
	}
	name := func(text string) string { return fmt.Sprintf("DNS, %d records on %s: %s", dnsRecords, kind, text) }
	const external = "ExternalDNS v0.21: "
	return []figure{
		{Name: name("all created"), Ours: seconds(ours.create.took), Peer: seconds(peer.Create.all()), PeerName: external + "the same", Unit: "s"},
		{Name: name("nothing changed"), Ours: milliseconds(ours.unchanged.took), Peer: milliseconds(peer.Unchanged.all()), PeerName: external + "reading the zone, registry, plan", Unit: "ms"},
		{Name: name("nothing changed, without reading"), Ours: milliseconds(ours.unchanged.took), Peer: milliseconds(peer.Unchanged.Plan), PeerName: external + "registry and plan alone", Unit: "ms"},
		{Name: name("nothing changed, calls"), Ours: ours.unchanged.calls(), Peer: peer.Unchanged.calls(), PeerName: external + "one transfer of the zone", Unit: "calls"},
		{Name: name("one changed"), Ours: milliseconds(ours.changed.took), Peer: milliseconds(peer.Changed.all()), PeerName: external + "the same", Unit: "ms"},
		{Name: name("one changed, calls"), Ours: ours.changed.calls(), Peer: peer.Changed.calls(), PeerName: external + "one transfer, one update", Unit: "calls"},
		{Name: name(fmt.Sprintf("%d changed, calls", dnsBulk)), Ours: ours.bulk.calls(), Unit: "calls"},
		{Name: name("all looked at again, as after a restart"), Ours: milliseconds(ours.restart.took), Peer: milliseconds(peer.Unchanged.all()), PeerName: external + "any round", Unit: "ms"},
	}, nil
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// peerTook is what the peer says of a round.
type peerTook struct {
	Transfer, Plan, Apply time.Duration
	Reads, Writes         int
}

func (t peerTook) all() time.Duration { return t.Transfer + t.Plan + t.Apply }
func (t peerTook) calls() float64     { return float64(t.Reads + t.Writes) }

type peerReport struct{ Create, Unchanged, Changed peerTook }

// peerRounds builds and runs the peer, and says on what kind of server.
func peerRounds(ctx context.Context) (*peerReport, nameserver.Kind, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "round")
	if out, err := exec.CommandContext(ctx, "go", "-C", "test/oracle/externaldns", "build", "-o", binary, "./cmd/round").CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("building it, %w: %s", err, out)
	}
	s, err := anyServer(ctx)
	if err != nil {
		return nil, "", err
	}
	defer s.Stop()
	job, err := json.Marshal(map[string]any{"records": dnsRecords, "runs": dnsRuns, "server": map[string]any{
		"address": s.Address, "zone": dnsZone, "keyName": s.KeyName, "algorithm": s.Algorithm, "secret": s.Secret,
	}})
	if err != nil {
		return nil, "", err
	}
	command := exec.CommandContext(ctx, binary)
	command.Stdin, command.Stderr = bytes.NewReader(job), os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, "", fmt.Errorf("running it, %w", err)
	}
	report := &peerReport{}
	if err := json.Unmarshal(out, report); err != nil {
		return nil, "", fmt.Errorf("reading its report, %w", err)
	}
	return report, s.Kind, nil
}

// anyServer is BIND, or the one within the process where there is none.
func anyServer(ctx context.Context) (*nameserver.Server, error) {
	s, err := nameserver.Start(ctx, nameserver.BIND, dnsZone)
	var missing *nameserver.UnavailableError
	if errors.As(err, &missing) {
		return nameserver.Start(ctx, nameserver.Process, dnsZone)
	}
	return s, err
}

// round is one Reconcile: how long it took and what it asked of the provider.
type round struct {
	took                time.Duration
	lists, reads, apply int
	// changes were written.
	changes int
}

func (r round) calls() float64 { return float64(r.lists + r.reads + r.apply) }

// ownReport is what was measured of our engine.
type ownReport struct{ create, unchanged, changed, bulk, restart round }

// keeper is our engine with its wishes.
type keeper struct {
	engine   *dns.Engine
	provider *counted
	wanted   []dns.Wanted
}

func ownRounds(ctx context.Context, kind nameserver.Kind) (*ownReport, error) {
	s, err := nameserver.Start(ctx, kind, dnsZone)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	p, err := rfc2136.New(rfc2136.Options{Server: s.Address, Zones: []dns.Name{dnsZone}, Timeout: time.Minute,
		Key: &rfc2136.Key{Name: s.KeyName, Algorithm: s.Algorithm, Secret: s.Secret}})
	if err != nil {
		return nil, err
	}
	k := &keeper{engine: &dns.Engine{Owner: "bench", Clock: time.Now}, provider: &counted{Provider: p}}
	for i := range dnsRecords {
		name := dns.Name(fmt.Sprintf("host-%05d.%s", i, dnsZone))
		k.wanted = append(k.wanted, dns.Wanted{Resource: "bench/" + string(name), Name: name})
		k.want(i, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	out := &ownReport{}
	if out.create, err = k.round(ctx, dnsRecords); err != nil {
		return nil, err
	}
	var unchanged, changed []round
	for i := range dnsRuns {
		same, err := k.round(ctx, 0)
		if err != nil {
			return nil, err
		}
		k.want(0, fmt.Sprintf("192.0.2.%d", i+1))
		one, err := k.round(ctx, 1)
		if err != nil {
			return nil, err
		}
		unchanged, changed = append(unchanged, same), append(changed, one)
	}
	out.unchanged, out.changed = middle(unchanged), middle(changed)
	for i := range dnsBulk {
		k.want(i, fmt.Sprintf("192.0.2.%d", 100+i%100))
	}
	if out.bulk, err = k.round(ctx, dnsBulk); err != nil {
		return nil, err
	}
	// Nothing but what the API server has is left: wishes, and what was written.
	k.engine = &dns.Engine{Owner: "bench", Clock: time.Now}
	if out.restart, err = k.round(ctx, 0); err != nil {
		return nil, err
	}
	return out, out.check()
}

// check fails the benchmark where more is asked of the provider than changes need.
func (r *ownReport) check() error {
	switch {
	case r.unchanged.calls() != 0:
		return fmt.Errorf("nothing has changed, and it made %v calls", r.unchanged.calls())
	case r.changed.calls() > 2:
		return fmt.Errorf("one record has changed, and it made %v calls", r.changed.calls())
	case r.restart.apply != 0:
		return fmt.Errorf("nothing has changed, and it wrote after a restart")
	}
	return nil
}

func middle(all []round) round {
	slices.SortFunc(all, func(a, b round) int { return int(a.took - b.took) })
	return all[len(all)/2]
}

// want changes the address of one record.
func (k *keeper) want(i int, address string) {
	w := &k.wanted[i]
	w.Sets = []dns.RecordSet{{Key: dns.Key{Name: w.Name, Type: dns.TypeA}, TTL: 300, Values: []string{address}}}
}

// round reconciles everything, and holds it to as many changes as there are.
func (k *keeper) round(ctx context.Context, changes int) (round, error) {
	k.provider.round = round{}
	started := time.Now()
	outcomes := k.engine.Reconcile(ctx, k.provider, k.wanted, dns.Options{Account: "bench"})
	k.provider.took = time.Since(started)
	for i, o := range outcomes {
		if o.Phase != dns.PhaseDone {
			return round{}, fmt.Errorf("%s is %s, %w", k.wanted[i].Name, o.Phase, o.Err)
		}
		k.wanted[i].Known = o.Owned
	}
	if k.provider.changes != changes {
		return round{}, fmt.Errorf("it wrote %d changes, and %d were to be made", k.provider.changes, changes)
	}
	return k.provider.round, nil
}

// counted is a provider whose calls are counted.
type counted struct {
	dns.Provider
	round
}

// Zones lists.
func (c *counted) Zones(ctx context.Context) ([]dns.Zone, error) {
	c.lists++
	return c.Provider.Zones(ctx)
}

// Read reads.
func (c *counted) Read(ctx context.Context, z dns.Zone, names []dns.Name) ([]dns.Observed, error) {
	c.reads++
	return c.Provider.Read(ctx, z, names)
}

// Apply writes.
func (c *counted) Apply(ctx context.Context, z dns.Zone, changes []dns.Change) (dns.Receipt, error) {
	c.apply++
	c.changes += len(changes)
	return c.Provider.Apply(ctx, z, changes)
}
