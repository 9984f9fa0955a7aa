// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/acme/caa"
	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/certificate"
)

// Engine takes steps towards certificates. Make one with New. Safe for concurrent
// use by different certificates; the steps of one certificate come one after the
// other.
type Engine struct {
	options Options
	mu      sync.Mutex
	clients map[string]*client
	// tickets are of orders that were reserved and not sent.
	tickets limit.Tickets
	// key is the account's that was read last, and keyIs the hash of its text.
	key   crypto.Signer
	keyIs [sha256.Size]byte
}

// Options are what an Engine depends on. Ledger is required.
type Options struct {
	// Ledger is the budget, shared by everything that speaks to the same CAs.
	Ledger *limit.Ledger
	// Transport reaches the CAs; http.DefaultTransport where nil.
	Transport http.RoundTripper
	// Now is the clock, Random gives numbers of at least 0 and below 1.
	Now    func() time.Time
	Random func() float64
	// UserAgent is what CAs see (RFC 8555 §6.1); without it, only the library's name.
	UserAgent string
	// Timeout is for one step; 30 s where zero.
	Timeout time.Duration
	// CAA looks up records before an order; nil leaves that to the CA.
	CAA caa.Resolver
}

const defaultTimeout = 30 * time.Second

// New makes an engine.
func New(o Options) *Engine {
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return &Engine{options: o, clients: map[string]*client{}}
}

// Actions are what the caller does after a step, in the order of the fields: store
// keys and the pair, the ledger, then the State; publish; and call Step again.
type Actions struct {
	// StoreAccountKey and StoreOrderKey are PEM, to be stored before the State is.
	// They are for Secrets, and for nothing else.
	StoreAccountKey []byte
	StoreOrderKey   []byte
	// StorePair is the new certificate with its key: both in one write.
	StorePair *certificate.Pair
	// StoreLedger: the budget has changed.
	StoreLedger bool
	// DropOrderKey: no order needs the key any more. After the State is stored.
	DropOrderKey bool
	// Publish is all that must be published from now on; what is not in it may be
	// taken away, unless it was Standing.
	Publish []Challenge
	// Again is true when the next step may follow at once. Otherwise RetryAt says
	// when; zero means that only the caller knows (Order.Presented, another Spec).
	Again   bool
	RetryAt time.Time
	// Failure is set when this step failed: for an event and a metric.
	Failure *Failure
	// Issued is true in the step that got a certificate.
	Issued bool
}

func (Actions) String() string { return "actions" }

// GoString keeps keys out of what %#v prints.
func (Actions) GoString() string { return "acme.Actions{…}" }

// Step does what comes next. What goes wrong at the CA is in the State and no
// error. An error means that nothing was decided and the State is as it was: the
// context ended, or a stored key cannot be read.
func (e *Engine) Step(ctx context.Context, spec Spec, state State, secrets Secrets) (State, Actions, error) {
	before := state
	if err := state.check(); err != nil {
		return before, Actions{}, fmt.Errorf("taking a step towards a certificate: %w", err)
	}
	state = state.clone()
	now := e.options.Now().UTC().Truncate(time.Second)
	r := &run{engine: e, State: &state, secrets: secrets, now: now}
	var err error
	if r.spec, err = spec.canonical(); err != nil {
		if r.adopt(digest(spec)); r.Phase == Failed {
			return state, r.actions, nil
		}
		r.give(Failure{Type: TypeSpec, Detail: clean(err.Error()), Permanent: true})
		return state, r.actions, nil
	}
	if r.key, err = e.accountKey(secrets); err != nil {
		return before, Actions{}, fmt.Errorf("taking a step towards a certificate: %w", err)
	}
	r.adopt(r.spec.digest())
	if r.Phase == Rehearsing {
		if err := r.rehearse(ctx); err != nil {
			return before, Actions{}, err
		}
		return state, r.actions, nil
	}
	if r.waits() {
		r.finish()
		return state, r.actions, nil
	}
	r.ctx, r.exchange = begin(ctx, now, e.options.Timeout)
	defer r.exchange.cancel()
	if thumbprint := r.rekeyed(); thumbprint != "" {
		r.rekey(thumbprint)
	} else {
		r.dispatch()
	}
	if ctx.Err() != nil && r.actions.Failure != nil {
		// Our own end says nothing about the CA.
		return before, Actions{}, fmt.Errorf("taking a step towards a certificate: %w", context.Cause(ctx))
	}
	r.finish()
	return state, r.actions, nil
}

// run is one step.
type run struct {
	*State
	engine   *Engine
	ctx      context.Context
	exchange *exchange
	spec     Spec
	secrets  Secrets
	key      crypto.Signer
	now      time.Time
	actions  Actions
}

// adopt takes note of another Spec: what was tried for the old one says nothing
// about the new, but what the CA asked for still holds.
func (r *run) adopt(specDigest string) {
	if r.For == specDigest {
		return
	}
	r.For = specDigest
	r.Attempts, r.Retries, r.Warnings = 0, 0, nil
	if !r.HeldByCA {
		r.NextTry, r.LastError = nil, nil
	}
	if r.Phase == Failed {
		r.Phase = Waiting
	}
	if r.spec.Preflight == "" {
		r.dropPreflight()
	}
	if r.Order != nil && r.Order.For != r.spec.orderDigest(r.Account) {
		r.drop()
	}
}

// drop gives an order up, with what it took of the budget.
func (r *run) drop() {
	if r.Order == nil {
		return
	}
	if r.Order.Charged != "" {
		r.engine.options.Ledger.Refund(r.Order.Charged, r.now)
		r.actions.StoreLedger = true
	}
	r.Order, r.Phase, r.Retries = nil, Waiting, 0
	r.actions.DropOrderKey = true
}

func (r *run) waits() bool {
	if r.Phase == Failed {
		return true
	}
	if r.NextTry == nil {
		return false
	}
	if r.now.Before(*r.NextTry) {
		r.actions.RetryAt = *r.NextTry
		return true
	}
	r.NextTry, r.HeldByCA = nil, false
	return false
}

func (r *run) dispatch() {
	switch r.Phase {
	case "", Waiting, Issued:
		r.idle()
	case Registering:
		r.register()
	case Ordering:
		r.order()
	case Authorizing:
		r.authorize()
	case Presenting:
		r.present()
	case Validating:
		r.validate()
	case Finalizing:
		r.finalize()
	case Issuing:
		r.poll()
	case Downloading:
		r.download()
	}
}

func (r *run) finish() {
	r.actions.Publish = r.Challenges()
}

// nextSecond is the first whole second that is not before a time: steps count in
// those, and one that comes a moment too early would do nothing.
func nextSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// enter begins a phase after a step that worked.
func (r *run) enter(p Phase) {
	r.Phase, r.Retries = p, 0
	if r.Attempts == 0 {
		r.LastError = nil
	}
	if r.Order != nil {
		r.Order.Since = r.now
	}
	r.actions.Again = true
}

// pause says when to go on with the present phase.
func (r *run) pause(d time.Duration) {
	at := nextSecond(r.now.Add(d))
	r.NextTry, r.actions.RetryAt, r.actions.Again = &at, at, false
}

// note writes a failure down for people.
func (r *run) note(f Failure) {
	f.Time, f.Phase = r.now, r.Phase
	r.LastError, r.actions.Failure, r.actions.Again = &f, &f, false
}

// retry keeps all as it is and sends the same request later.
func (r *run) retry(f Failure) {
	r.note(f)
	r.Retries++
	wait := ladder(r.Retries)
	if f.Type == "badNonce" && r.Retries < 5 {
		// The CA lives and answers at once; only ten nonces in a row were old.
		wait = time.Second
	}
	if asked := r.exchange.wait(); asked > 0 {
		// Less than a second is no wait, whatever the CA says.
		wait, r.HeldByCA = max(asked, time.Second), true
	}
	r.pause(wait)
}

// give ends an attempt: the order is no more, and another comes after a while, or
// never.
func (r *run) give(f Failure) {
	r.note(f)
	r.drop()
	if f.Permanent {
		r.Phase, r.NextTry = Failed, nil
		return
	}
	r.Phase = Waiting
	r.Attempts++
	r.pause(ladder(r.Attempts))
}

// fault sorts what a request met: requests that may be sent again, and attempts
// that are over.
func (r *run) fault(err error) {
	f := r.exchange.failureOf(err)
	switch {
	case transient(f):
		r.retry(f)
	case f.Type == "accountDoesNotExist":
		// The CA has forgotten the account, as after a reset: another order will
		// register again.
		r.Account = ""
		r.give(f)
	default:
		r.give(f)
	}
}

// client is the library's for one CA, with its nonces.
type client struct {
	*acmez.Client
	mu        sync.Mutex
	directory acmez.Directory
	readAt    time.Time
	madeAt    time.Time
}

// client is made anew twice a day, because the library never reads a directory
// again.
func (e *Engine) client(directory string, now time.Time) *client {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clients[directory]
	if c == nil || now.Sub(c.madeAt) > directoryLife {
		t := &transport{base: e.options.Transport, directory: directory}
		c = &client{madeAt: now, Client: &acmez.Client{
			Directory: directory, UserAgent: e.options.UserAgent,
			HTTPClient: &http.Client{Transport: t},
			// Less than nothing: FinalizeOrder is to send, and not to wait.
			PollTimeout: -1,
		}}
		e.clients[directory] = c
	}
	return c
}

func (r *run) client() *client { return r.engine.client(r.spec.Directory, r.now) }

func (r *run) account() acmez.Account {
	return acmez.Account{Location: r.Account, PrivateKey: r.key}
}
