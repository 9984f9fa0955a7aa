// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"fmt"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/certificate"
)

// Rollover is what became of a change of an account's key.
type Rollover struct {
	// Done: the CA knows the account by the next key, and not by the old one.
	Done bool
	// Failure is why it is not done; where it is not Permanent, it may be tried
	// again at RetryAt. Nil and not Done: the CA knows the old key only.
	Failure *Failure
	RetryAt time.Time
}

// NewAccountKey is a key for Secrets.NextAccountKey, as PEM.
func NewAccountKey() ([]byte, error) {
	key, err := certificate.NewKey(certificate.P256)
	if err != nil {
		return nil, err
	}
	return certificate.EncodeKey(key)
}

// ChangeAccountKey makes a CA know our account by Secrets.NextAccountKey instead
// of Secrets.AccountKey (RFC 8555 §7.3.5). Both have to be stored before the call,
// and until it says what became of it: whoever dies in between calls again. It asks
// first which of the keys the CA knows, and, with ask, does nothing else. Failed is
// how often it has failed before. Nothing else may use the account meanwhile. An
// error means that a key cannot be read, or the context ended.
func (e *Engine) ChangeAccountKey(ctx context.Context, spec Spec, secrets Secrets, failed int, ask bool) (Rollover, error) {
	const doing = "changing the key of an account"
	old, err := e.accountKey(secrets)
	if err != nil || old == nil {
		return Rollover{}, fmt.Errorf("%s: reading the old key: %w", doing, orNoKey(err))
	}
	next, err := certificate.ParseKey(secrets.NextAccountKey)
	if err != nil {
		return Rollover{}, fmt.Errorf("%s: reading the next key: %w", doing, err)
	}
	c := &change{Engine: e, ctx: ctx, directory: spec.Directory, now: e.options.Now().UTC().Truncate(time.Second), failed: failed}
	out := c.run(old, next, ask)
	if ctx.Err() != nil {
		return Rollover{}, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return out, nil
}

func orNoKey(err error) error {
	if err == nil {
		return errNoAccountKey
	}
	return err
}

// change is one change of an account's key.
type change struct {
	*Engine
	ctx       context.Context
	directory string
	now       time.Time
	failed    int
}

func (c *change) run(old, next crypto.Signer, ask bool) Rollover {
	found, _, refused := c.find(next)
	if refused != nil || found || ask {
		return Rollover{Done: found, Failure: refused, RetryAt: c.retryAt(refused)}
	}
	found, account, refused := c.find(old)
	if refused != nil || !found {
		// The CA knows neither: whoever registers next may do so with the new one.
		return Rollover{Done: refused == nil, Failure: refused, RetryAt: c.retryAt(refused)}
	}
	f := c.send(func(ctx context.Context, to *client) error {
		_, err := to.AccountKeyRollover(ctx, account, next)
		return err
	})
	return Rollover{Done: f == nil, Failure: f, RetryAt: c.retryAt(f)}
}

// find asks whether the CA has an account for a key (RFC 8555 §7.3.1).
func (c *change) find(key crypto.Signer) (bool, acmez.Account, *Failure) {
	account := acmez.Account{PrivateKey: key}
	f := c.send(func(ctx context.Context, to *client) (err error) {
		account, err = to.GetAccount(ctx, account)
		return err
	})
	switch {
	case f == nil:
		return accountForm.MatchString(account.Location), account, nil
	case f.Type == "accountDoesNotExist":
		return false, account, nil
	}
	return false, account, f
}

// send makes one request, and says what it met.
func (c *change) send(do func(context.Context, *client) error) *Failure {
	ctx, x := begin(c.ctx, c.now, c.options.Timeout)
	defer x.cancel()
	err := do(ctx, c.client(c.directory, c.now))
	if err == nil {
		return nil
	}
	f := x.failureOf(err)
	f.Time, f.Phase = c.now, Registering
	if !transient(f) {
		f.Permanent = true
		return &f
	}
	c.now = c.now.Add(x.wait())
	return &f
}

// retryAt is after what the CA asked for, by which send has put the time forward,
// and no sooner than the ladder says.
func (c *change) retryAt(f *Failure) time.Time {
	if f == nil || f.Permanent {
		return time.Time{}
	}
	if at := f.Time.Add(ladder(c.failed + 1)); c.now.Before(at) {
		return at
	}
	return c.now
}

// rekey goes on with an open order after the key of its account was changed: what
// is published depends on the key (RFC 8555 §8.1), so that it is made anew. The
// key of another account is none for this order.
func (r *run) rekey(thumbprint string) {
	account, err := r.client().GetAccount(r.ctx, acmez.Account{PrivateKey: r.key})
	if err != nil {
		if f := r.exchange.failureOf(err); transient(f) {
			r.retry(f)
			return
		}
	}
	if err != nil || account.Location != r.Account {
		r.drop()
		r.actions.Again = true
		return
	}
	r.AccountKey = thumbprint
	r.actions.Again = true
	if r.Phase != Presenting && r.Phase != Validating {
		return
	}
	r.Order.Presented = false
	for i := range r.Order.Authorizations {
		if a := &r.Order.Authorizations[i]; a.Status != acmez.StatusValid {
			*a = Authorization{URL: a.URL}
		}
	}
	r.enter(Authorizing)
}

// rekeyed is the thumbprint of another key than that which an open order knows;
// empty where it is the same.
func (r *run) rekeyed() string {
	if r.Order == nil || r.key == nil || r.AccountKey == "" {
		return ""
	}
	account := r.account()
	thumbprint, err := account.Thumbprint()
	if err != nil || thumbprint == r.AccountKey || !thumbprintForm.MatchString(thumbprint) {
		return ""
	}
	return thumbprint
}
