// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"strings"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"
)

// Polling: quick at first, because most CAs are done within a second, and then
// ever slower, so that there are few requests however long it takes.
const (
	// firstLook is when to look for the first time at what a CA has just begun.
	firstLook = 200 * time.Millisecond
	// minPoll and maxPoll bound the time between two looks.
	minPoll = 250 * time.Millisecond
	maxPoll = time.Minute
	// calm is how long to wait before a request that the CA did not ask for may
	// repeat itself.
	calm = 2 * time.Second
	// maxValidation is how long a CA may take over one phase: the shortest life of
	// a pending authorization at Let's Encrypt.
	maxValidation = time.Hour
)

// await comes back to something that the CA is busy with: when it asked for that,
// or else after a third of the time that it has taken so far. Short waits are not
// worth storing: who comes too early makes one request too many.
func (r *run) await() {
	if asked := r.exchange.wait(); asked > 0 {
		r.pause(max(asked, time.Second))
		return
	}
	since := r.engine.options.Now().Sub(r.Order.Since)
	wait := min(max(since/3, minPoll), maxPoll)
	if wait > calm {
		r.pause(wait)
		return
	}
	r.glance(wait)
}

// glance comes back soon, without a note of it in the State.
func (r *run) glance(wait time.Duration) {
	r.actions.Again, r.actions.RetryAt = false, r.engine.options.Now().UTC().Add(wait)
}

// authorize asks for one authorization that is not known yet.
func (r *run) authorize() {
	for i := range r.Order.Authorizations {
		a := &r.Order.Authorizations[i]
		if a.Status != "" {
			continue
		}
		got, err := r.client().GetAuthorization(r.ctx, r.account(), a.URL)
		if err != nil {
			r.fault(err)
			return
		}
		if f := a.read(got, r.spec); f != nil {
			r.give(*f)
			return
		}
		if a.Status != acmez.StatusPending && a.Status != acmez.StatusValid {
			r.invalid(*a, got)
			return
		}
		if i < len(r.Order.Authorizations)-1 {
			r.actions.Again = true
			return
		}
	}
	if r.pending() == nil {
		r.enter(Finalizing)
		return
	}
	r.enter(Presenting)
	r.actions.Again = false
}

// pending is the first authorization that is not valid.
func (r *run) pending() *Authorization {
	for i := range r.Order.Authorizations {
		if a := &r.Order.Authorizations[i]; a.Status != acmez.StatusValid {
			return a
		}
	}
	return nil
}

// present waits for the caller.
func (r *run) present() {
	if r.Order.Presented {
		r.enter(Validating)
	}
}

// validate tells the CA of one challenge that it can look, or asks about one.
func (r *run) validate() {
	if a := r.uninitiated(); a != nil {
		r.initiate(a)
		return
	}
	a := r.pending()
	if a == nil {
		r.enter(Finalizing)
		return
	}
	got, err := r.client().GetAuthorization(r.ctx, r.account(), a.URL)
	if err != nil {
		r.fault(err)
		return
	}
	switch got.Status {
	case acmez.StatusValid:
		a.Status = acmez.StatusValid
		r.Retries, r.actions.Again = 0, true
	case acmez.StatusPending:
		if r.now.Sub(r.Order.Since) > maxValidation {
			r.give(Failure{Type: TypeOrder, Name: a.Name, Detail: "the CA has not come to look within " + maxValidation.String()})
			return
		}
		r.await()
	default:
		r.invalid(*a, got)
	}
}

// initiate may meet a challenge that was initiated before this process began: the
// CA then refuses, and what became of it is seen by asking.
func (r *run) initiate(a *Authorization) {
	_, err := r.client().InitiateChallenge(r.ctx, r.account(), acmez.Challenge{Type: string(a.Challenge), URL: a.ChallengeURL})
	if err != nil {
		if f := r.exchange.failureOf(err); transient(f) || f.Permanent || f.Type == "accountDoesNotExist" {
			r.fault(err)
			return
		}
	}
	a.Initiated = true
	r.Retries, r.actions.Again = 0, true
	if asked := r.exchange.wait(); r.uninitiated() == nil && asked == 0 {
		r.glance(firstLook)
	} else if r.uninitiated() == nil {
		r.pause(max(asked, time.Second))
	}
}

// uninitiated is the first authorization that the CA was not told of.
func (r *run) uninitiated() *Authorization {
	for i := range r.Order.Authorizations {
		if a := &r.Order.Authorizations[i]; a.Status != acmez.StatusValid && !a.Initiated {
			return a
		}
	}
	return nil
}

// invalid ends an attempt because of one name, and counts that.
func (r *run) invalid(a Authorization, got acmez.Authorization) {
	f := Failure{Type: TypeOrder, Detail: "the CA says that the authorization is " + clean(got.Status)}
	for _, c := range got.Challenges {
		if c.Error != nil {
			f = problem(*c.Error, c.Error.Status)
			break
		}
	}
	f.Name = a.Name
	if got.Status == acmez.StatusInvalid {
		r.engine.options.Ledger.Failed(r.Account, strings.TrimPrefix(a.Name, "*."), r.now)
		r.actions.StoreLedger = true
	}
	r.give(f)
}
