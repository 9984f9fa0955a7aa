// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"net/url"
)

// Current is the Spec of the next step: that of the preflight while there is one.
// Its directory says whose account key the step needs.
func (s Spec) Current(state State) Spec {
	if state.Phase == Rehearsing && s.Preflight != "" {
		return s.preflight()
	}
	return s
}

// preflight is the same for another CA. An external account is the CA's own, and
// nothing of what is issued is served.
func (s Spec) preflight() Spec {
	s.Directory, s.Preflight, s.ExternalAccount, s.PreferredChain, s.Renew = s.Preflight, "", "", "", ""
	return s
}

// preflightDigest is of what a preflight has to have been for. A renewal of the same
// is none: what could be proven is not held up by a CA that is for tests.
func (s Spec) preflightDigest() string {
	return digest([]any{s.Directory, s.Preflight, s.Names, s.Profile, s.Challenge, s.Key})
}

// Current is the state of the order that is worked on: of the preflight while there
// is one. It is not to be changed.
func (s *State) Current() *State {
	if s.Phase == Rehearsing && s.Preflight != nil {
		return s.Preflight
	}
	return s
}

// Change gives a copy of a state in which the current order is another.
func (s State) Change(edit func(current *State)) State {
	s = s.clone()
	edit(s.Current())
	return s
}

func (r *run) beginPreflight() {
	r.Phase, r.actions.Again = Rehearsing, true
	if r.Preflight == nil {
		r.Preflight = &State{}
	}
}

// dropPreflight is for one that nobody wants any more.
func (r *run) dropPreflight() {
	if r.Preflight == nil {
		return
	}
	if o := r.Preflight.Order; o != nil {
		r.engine.options.Ledger.Refund(o.Charged, r.now)
		r.actions.StoreLedger, r.actions.DropOrderKey = true, true
	}
	r.Preflight = nil
	if r.Phase == Rehearsing {
		r.Phase = Waiting
	}
}

// rehearse takes a step of the preflight. Its certificate goes nowhere, and the
// order that counts comes after it only.
func (r *run) rehearse(ctx context.Context) error {
	keys := Secrets{AccountKey: r.secrets.AccountKey, OrderKey: r.secrets.OrderKey}
	after, actions, err := r.engine.Step(ctx, r.spec.preflight(), *r.Preflight, keys)
	if err != nil {
		return err
	}
	actions.StoreLedger = actions.StoreLedger || r.actions.StoreLedger
	actions.DropOrderKey = actions.DropOrderKey || r.actions.DropOrderKey
	r.actions, r.Preflight = actions, &after
	r.NextTry, r.HeldByCA, r.LastError, r.Warnings = after.NextTry, after.HeldByCA, r.ofPreflight(after.LastError), after.Warnings
	if actions.Failure != nil {
		r.actions.Failure = r.LastError
	}
	switch {
	case actions.Issued:
		r.Preflighted, r.Preflight, r.Phase = r.spec.preflightDigest(), nil, Waiting
		r.NextTry, r.HeldByCA, r.LastError = nil, false, nil
		r.actions.StorePair, r.actions.Issued, r.actions.Again = nil, false, true
	case after.Phase == Failed:
		r.Phase = Failed
	}
	return nil
}

// ofPreflight says of a failure where it was.
func (r *run) ofPreflight(f *Failure) *Failure {
	if f == nil {
		return nil
	}
	out, host := *f, r.spec.Preflight
	if u, err := url.Parse(host); err == nil {
		host = u.Host
	}
	out.Detail = clean("in the preflight at " + host + ": " + out.Detail)
	return &out
}
