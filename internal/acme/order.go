// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/trellis-mesh/trellis/internal/acme/limit"
	"github.com/trellis-mesh/trellis/internal/certificate"
)

// reserve charges the budget before an order is sent, so that a process that dies
// in between has counted too much and never too little.
func (r *run) reserve() {
	o := &Order{Ticket: r.engine.tickets.New(), For: r.spec.orderDigest(r.Account), Since: r.now}
	if !r.PlainOrder && r.Issued != nil && r.Issued.Directory == r.spec.Directory &&
		(r.Issued.Account == r.Account || r.Issued.Account == "") && r.Cause != certificate.Missing && overlaps(r.Issued.Names, r.spec.Names) {
		o.Replaces = r.Issued.ID
	}
	exempt := o.Replaces != "" && r.Cause == certificate.RenewalDue
	charged, wait, why := r.engine.options.Ledger.Reserve(limit.Order{
		Directory: r.spec.Directory, Account: r.Account, Names: r.spec.Names, Exempt: exempt,
	}, r.now)
	if wait > 0 {
		r.note(Failure{Type: TypeBudget, Detail: clean("the order is held back to stay within the CA's limits: " + why)})
		r.Phase = Waiting
		r.pause(wait)
		return
	}
	r.warnOfCAA()
	o.Charged, r.Order = charged, o
	r.actions.StoreLedger = true
	r.enter(Ordering)
}

func overlaps(a, b []string) bool {
	return slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) })
}

// order sends the order. Its URL is all of the answer that matters: the rest can
// be asked for again.
func (r *run) order() {
	if r.Order.For != r.spec.orderDigest(r.Account) {
		r.drop()
		r.actions.Again = true
		return
	}
	if !r.engine.tickets.Spend(r.Order.Ticket) && r.search() {
		return
	}
	c := r.client()
	if r.spec.Profile != "" {
		directory, err := c.GetDirectory(r.ctx)
		if err != nil {
			r.fault(err)
			return
		}
		if f := unknownProfile(directory, r.spec.Profile); f != nil {
			r.give(*f)
			return
		}
	}
	ask := acmez.Order{Profile: r.spec.Profile, Replaces: r.Order.Replaces}
	for _, n := range r.spec.Names {
		ask.Identifiers = append(ask.Identifiers, acmez.Identifier{Type: "dns", Value: n})
	}
	got, err := c.NewOrder(r.ctx, r.account(), ask)
	if err != nil {
		r.orderRefused(err)
		return
	}
	if !httpsURL(got.Location) || len(got.Authorizations) > maxAuthorizations {
		r.give(Failure{Type: TypeOrder, Detail: "the CA's order has no URL, or too many authorizations"})
		return
	}
	r.Order.URL = got.Location
	r.take(got)
}

func unknownProfile(d acmez.Directory, profile string) *Failure {
	var offered []string
	if d.Meta != nil {
		for name := range d.Meta.Profiles {
			offered = append(offered, name)
		}
	}
	if slices.Contains(offered, profile) {
		return nil
	}
	slices.Sort(offered)
	return &Failure{Type: "invalidProfile", Permanent: true,
		Detail: clean(fmt.Sprintf("the CA has no profile %q; it has %v", profile, offered))}
}

// orderRefused tells refusals of a replacement from others. CAs use many types
// for them (alreadyReplaced, malformed, unauthorized, serverInternal), so that any
// answer to such an order but a limit is followed by one plain order.
func (r *run) orderRefused(err error) {
	f := r.exchange.failureOf(err)
	if f.Status >= 400 {
		// It was answered, and not with an order.
		r.engine.tickets.Keep(r.Order.Ticket)
	}
	limited := f.Type == "rateLimited" || f.Type == "badNonce" || f.Status == 429 || f.Status == 503 || f.Type == TypeConnection
	if r.Order.Replaces == "" || limited || f.Permanent || f.Type == "accountDoesNotExist" {
		r.fault(err)
		return
	}
	r.note(f)
	r.PlainOrder = true
	r.drop()
	r.actions.Again = true
}

// take goes on from what the CA says an order is.
func (r *run) take(got acmez.Order) {
	o := r.Order
	o.Finalize = got.Finalize
	if !got.Expires.IsZero() {
		o.Expires = &got.Expires
	}
	switch got.Status {
	case acmez.StatusPending:
		o.Authorizations, o.Presented = nil, false
		for _, u := range got.Authorizations {
			o.Authorizations = append(o.Authorizations, Authorization{URL: u})
		}
		r.back(Authorizing)
	case acmez.StatusReady:
		r.back(Finalizing)
	case acmez.StatusProcessing:
		r.enter(Issuing)
		if asked := r.exchange.wait(); asked > 0 {
			r.pause(max(asked, time.Second))
		} else {
			r.glance(firstLook)
		}
	case acmez.StatusValid:
		o.Certificate = got.Certificate
		r.enter(Downloading)
	default:
		f := Failure{Type: TypeOrder, Detail: "the CA says that the order is " + clean(got.Status)}
		if got.Error != nil {
			f = problem(*got.Error, got.Error.Status)
		}
		r.give(f)
	}
}

// back is enter, but where an order that was finalized is said to be less than
// that, slowly: it may be so again.
func (r *run) back(p Phase) {
	again := r.Phase == Issuing
	r.enter(p)
	if again {
		r.pause(calm)
	}
}

// httpsURL is checked before a URL of the CA is shown to people.
func httpsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && len(s) < 2048
}
