// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package externaldns runs the engine of ExternalDNS (plan, TXT registry and
// provider for RFC 2136) beside ours: on one zone, to prove that neither writes
// what is the other's, and on zones of the same size, to compare their work. It
// is a module of its own, so that nothing else links ExternalDNS.
package externaldns

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sirupsen/logrus"
	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider"
	"sigs.k8s.io/external-dns/provider/rfc2136"
	"sigs.k8s.io/external-dns/registry"
	"sigs.k8s.io/external-dns/registry/txt"
)

// Server is a name server with one zone, and the TSIG key for it.
type Server struct {
	// Address is its host and port.
	Address string `json:"address"`
	Zone    string `json:"zone"`
	// KeyName, Algorithm (hmac-sha256) and Secret (base64) are the key's.
	KeyName   string `json:"keyName"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret"`
}

// Peer is one ExternalDNS. Not safe for concurrent use, as the original.
type Peer struct {
	config   *externaldns.Config
	provider *watched
	registry registry.Registry
}

// Took is how long the parts of one round took, and how often the provider was
// called to read and to write.
type Took struct {
	// Transfer is the provider's reading of the zone; Plan is all the rest but
	// Apply: what the registry makes of it, and the plan.
	Transfer, Plan, Apply time.Duration
	Reads, Writes         int
}

// New makes a peer with the given owner id. Flags are those of the command: all
// that is not said has the command's default, as for users.
func New(ctx context.Context, s Server, owner string, flags ...string) (*Peer, error) {
	// Its log is long, and says nothing that the zone does not.
	logrus.SetOutput(io.Discard)
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the name server: %w", err)
	}
	config := externaldns.NewConfig()
	err = config.ParseFlags(append([]string{
		"--source=crd", "--provider=rfc2136", "--policy=sync", "--registry=txt", "--txt-owner-id=" + owner,
		"--rfc2136-host=" + host, "--rfc2136-port=" + port, "--rfc2136-zone=" + s.Zone, "--rfc2136-tsig-axfr",
		"--rfc2136-tsig-keyname=" + s.KeyName, "--rfc2136-tsig-secret-alg=" + s.Algorithm, "--rfc2136-tsig-secret=" + s.Secret,
	}, flags...))
	if err != nil {
		return nil, fmt.Errorf("reading ExternalDNS' flags: %w", err)
	}
	if config.RFC2136BatchChangeSize <= 0 {
		// Its loop over batches would never end.
		return nil, fmt.Errorf("configuring ExternalDNS: a batch of %d changes", config.RFC2136BatchChangeSize)
	}
	real, err := rfc2136.New(ctx, config, endpoint.NewDomainFilter(nil))
	if err != nil {
		return nil, fmt.Errorf("making ExternalDNS' provider: %w", err)
	}
	p := &Peer{config: config, provider: &watched{Provider: real}}
	if p.registry, err = txt.New(config, p.provider); err != nil {
		return nil, fmt.Errorf("making ExternalDNS' registry: %w", err)
	}
	return p, nil
}

// Round does once what ExternalDNS does every minute: it reads the zone, plans
// and writes. The endpoints belong to it afterwards.
func (p *Peer) Round(ctx context.Context, desired []*endpoint.Endpoint) (*plan.Changes, Took, error) {
	p.provider.took = Took{}
	started := time.Now()
	current, err := p.registry.Records(ctx)
	if err != nil {
		return nil, Took{}, fmt.Errorf("reading records as ExternalDNS: %w", err)
	}
	ctx = context.WithValue(ctx, provider.RecordsContextKey, current)
	if desired, err = p.registry.AdjustEndpoints(desired); err != nil {
		return nil, Took{}, fmt.Errorf("adjusting endpoints as ExternalDNS: %w", err)
	}
	made := (&plan.Plan{
		Policies: []plan.Policy{plan.Policies[p.config.Policy]},
		Current:  current, Desired: desired,
		DomainFilter:   endpoint.MatchAllDomainFilters{p.registry.GetDomainFilter()},
		ManagedRecords: p.config.ManagedDNSRecordTypes, ExcludeRecords: p.config.ExcludeDNSRecordTypes,
		OwnerID: p.registry.OwnerID(),
	}).Calculate()
	if made.Changes.HasChanges() {
		err = p.registry.ApplyChanges(ctx, made.Changes)
	}
	took := p.provider.took
	took.Plan = time.Since(started) - took.Transfer - took.Apply
	if err != nil {
		return made.Changes, took, fmt.Errorf("writing as ExternalDNS: %w", err)
	}
	return made.Changes, took, nil
}

// watched is a provider whose calls are counted and timed.
type watched struct {
	provider.Provider
	took Took
}

// Records reads the zone.
func (w *watched) Records(ctx context.Context) ([]*endpoint.Endpoint, error) {
	started := time.Now()
	out, err := w.Provider.Records(ctx)
	w.took.Transfer += time.Since(started)
	w.took.Reads++
	return out, err
}

// ApplyChanges writes.
func (w *watched) ApplyChanges(ctx context.Context, changes *plan.Changes) error {
	started := time.Now()
	err := w.Provider.ApplyChanges(ctx, changes)
	w.took.Apply += time.Since(started)
	w.took.Writes++
	return err
}
