// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"
	acmezacme "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/certificate"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// lanes is how many requests to the CA are on their way at once, for us and for
// the peer: as many as the operator works on certificates at once.
const lanes = 8

// certificateFigures get a certificate for each of many hosts from a real CA, by
// DNS-01. The peers are the client of the library that we take steps with, as its
// users call it, and lego in a process of its own: they store nothing, and resume
// nothing.
func certificateFigures(ctx context.Context) ([]figure, error) {
	lego, err := buildLego(ctx)
	if err != nil {
		return nil, err
	}
	defer lego.remove()
	var out []figure
	for _, hosts := range []int{200, 1000} {
		ours, err := measureIssuing(ctx, hosts, issueOurs)
		if err != nil {
			return nil, fmt.Errorf("%d hosts by our engine, %w", hosts, err)
		}
		peer, err := measureIssuing(ctx, hosts, issuePeer)
		if err != nil {
			return nil, fmt.Errorf("%d hosts by acmez, %w", hosts, err)
		}
		other, err := measureIssuing(ctx, hosts, lego.issue)
		if err != nil {
			return nil, fmt.Errorf("%d hosts by lego, %w", hosts, err)
		}
		name := fmt.Sprintf("certificates, %d hosts at once", hosts)
		const is = "acmez ObtainCertificateForSANs"
		out = append(out,
			figure{Name: name, Ours: seconds(ours.took), Peer: seconds(peer.took), PeerName: is, Unit: "s"},
			figure{Name: name + ", orders", Ours: float64(ours.orders), Bar: float64(hosts), Peer: float64(peer.orders), PeerName: is, Unit: "orders"},
			figure{Name: name + ", requests to the CA", Ours: float64(ours.requests), Peer: float64(peer.requests), PeerName: is, Unit: "requests"},
			figure{Name: name, Ours: seconds(ours.took), Peer: seconds(other.took), PeerName: legoName, Unit: "s"},
			figure{Name: name + ", requests to the CA", Ours: float64(ours.requests), Peer: float64(other.requests), PeerName: legoName, Unit: "requests"})
	}
	return out, nil
}

// issuing is what it took to get all certificates.
type issuing struct {
	took             time.Duration
	orders, requests int
}

// measureIssuing starts a CA and gets certificates from it, one for each host.
func measureIssuing(ctx context.Context, hosts int, issue func(context.Context, *authority, []string) error) (out issuing, err error) {
	a, err := newAuthority()
	if err != nil {
		return issuing{}, err
	}
	defer a.Stop()
	var names []string
	for i := range hosts {
		names = append(names, fmt.Sprintf("host-%04d.example.com", i))
	}
	started := time.Now()
	if err := issue(ctx, a, names); err != nil {
		return issuing{}, err
	}
	out = issuing{took: time.Since(started), orders: a.Orders(), requests: len(a.Requests("/"))}
	if out.orders != hosts {
		return issuing{}, fmt.Errorf("%d orders were made for %d sets of names", out.orders, hosts)
	}
	return out, nil
}

// authority is a CA with the records that it looks at.
type authority struct{ *pebble.Server }

func newAuthority() (*authority, error) {
	ca, err := pebble.Start(pebble.Options{})
	if err != nil {
		return nil, err
	}
	transport, ok := ca.Transport.(*http.Transport)
	if !ok {
		ca.Stop()
		return nil, errors.New("the way to the CA is none of net/http")
	}
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = lanes, lanes
	return &authority{ca}, nil
}

// controller is what keeps certificates, with a store in memory: like the
// operator it keeps the state as JSON, keys apart from it, and one account.
type controller struct {
	*authority
	engine *acme.Engine
	ledger *limit.Ledger
	lanes  chan struct{}

	mu         sync.Mutex
	accountKey []byte
	budget     []byte
	// asked and stored count who wants the budget stored: like the operator, one
	// write serves all that wait for it.
	asked  atomic.Int64
	saving sync.Mutex
	stored int64
}

func issueOurs(ctx context.Context, a *authority, names []string) error {
	limits := limit.LetsEncrypt
	// What is measured is the engine, and not its patience with the limit of orders.
	limits.Orders.Burst = max(limits.Orders.Burst, len(names))
	c := &controller{authority: a, ledger: limit.NewLedger(limits), lanes: make(chan struct{}, lanes)}
	c.engine = acme.New(acme.Options{Ledger: c.ledger, Transport: a.Transport, UserAgent: "trellis/bench"})
	all := make([]*one, len(names))
	for i, name := range names {
		all[i] = &one{spec: acme.Spec{Directory: a.Directory, Names: []string{name}, Challenge: acme.DNS01}, state: []byte(`{}`)}
	}
	// The first makes the account's key, and all others find it.
	for c.accountKey == nil {
		if _, err := c.step(ctx, all[0]); err != nil {
			return err
		}
	}
	return each(ctx, len(names), func(ctx context.Context, i int) error { return c.issue(ctx, all[i]) })
}

// each does something n times at once, and ends all with the first error.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			if err := do(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// one is a certificate on its way.
type one struct {
	spec    acme.Spec
	state   []byte
	secrets acme.Secrets
}

// issue takes steps until there is a certificate.
func (c *controller) issue(ctx context.Context, o *one) error {
	for {
		actions, err := c.step(ctx, o)
		switch {
		case err != nil:
			return fmt.Errorf("%s, %w", o.spec.Names[0], err)
		case actions.Failure != nil:
			return fmt.Errorf("%s, %w", o.spec.Names[0], actions.Failure)
		case actions.Issued:
			return nil
		case actions.Again:
			continue
		}
		timer := time.NewTimer(time.Until(actions.RetryAt))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// step takes one in a lane, and stores and publishes what it brought.
func (c *controller) step(ctx context.Context, o *one) (acme.Actions, error) {
	select {
	case <-ctx.Done():
		return acme.Actions{}, ctx.Err()
	case c.lanes <- struct{}{}:
	}
	defer func() { <-c.lanes }()
	state, err := acme.DecodeState(o.state)
	if err != nil {
		return acme.Actions{}, err
	}
	c.mu.Lock()
	o.secrets.AccountKey = c.accountKey
	c.mu.Unlock()
	state, actions, err := c.engine.Step(ctx, o.spec, state, o.secrets)
	if err != nil {
		return acme.Actions{}, err
	}
	if err := c.store(o, actions); err != nil {
		return acme.Actions{}, err
	}
	if state.Phase == acme.Presenting && !state.Order.Presented {
		var values []string
		for _, p := range actions.Publish {
			values = append(values, p.Value)
		}
		c.Set("_acme-challenge."+o.spec.Names[0], values...)
		state.Order.Presented, actions.Again = true, true
	}
	if actions.Issued {
		c.Set("_acme-challenge." + o.spec.Names[0])
	}
	o.state, err = json.Marshal(state)
	return actions, err
}

func (c *controller) store(o *one, a acme.Actions) error {
	if a.StoreAccountKey != nil {
		c.mu.Lock()
		c.accountKey = a.StoreAccountKey
		c.mu.Unlock()
	}
	if a.StoreOrderKey != nil {
		o.secrets.OrderKey = a.StoreOrderKey
	}
	if a.StorePair != nil {
		o.secrets.Pair = *a.StorePair
	}
	if a.StoreLedger {
		return c.save()
	}
	return nil
}

func (c *controller) save() (err error) {
	turn := c.asked.Add(1)
	c.saving.Lock()
	defer c.saving.Unlock()
	if c.stored < turn {
		c.stored = c.asked.Load()
		c.budget, err = c.ledger.Encode(time.Now())
	}
	return err
}

// issuePeer does the same by the library's own client.
func issuePeer(ctx context.Context, a *authority, names []string) error {
	client := acmez.Client{
		Client: &acmezacme.Client{
			Directory: a.Directory, UserAgent: "acmez/bench",
			HTTPClient: &http.Client{Transport: a.Transport},
		},
		ChallengeSolvers: map[string]acmez.Solver{acmezacme.ChallengeTypeDNS01: solver{a}},
	}
	key, err := certificate.NewKey(certificate.P256)
	if err != nil {
		return err
	}
	account, err := client.NewAccount(ctx, acmezacme.Account{TermsOfServiceAgreed: true, PrivateKey: key})
	if err != nil {
		return err
	}
	return each(ctx, len(names), func(ctx context.Context, i int) error {
		key, err := certificate.NewKey(certificate.P256)
		if err != nil {
			return err
		}
		chains, err := client.ObtainCertificateForSANs(ctx, account, key, names[i:i+1])
		if err == nil && len(chains) == 0 {
			err = errors.New("the CA gave no certificate")
		}
		return err
	})
}

// solver publishes records for the peer.
type solver struct{ *authority }

// Present publishes.
func (s solver) Present(_ context.Context, c acmezacme.Challenge) error {
	s.Set(c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	return nil
}

// CleanUp takes away.
func (s solver) CleanUp(_ context.Context, c acmezacme.Challenge) error {
	s.Set(c.DNS01TXTRecordName())
	return nil
}
