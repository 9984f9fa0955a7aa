// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"regexp"
	"slices"

	acmez "github.com/mholt/acmez/v3/acme"
)

const (
	// maxPages and maxSearched bound the search for an order whose answer was lost:
	// some CAs list all orders of an account, and few of them on a page.
	maxPages    = 60
	maxSearched = 20
)

// search looks for the order at the CA before one is sent that may have been sent
// already: the process died, or the connection did, before the answer came. CAs that
// list the orders of an account (RFC 8555 §7.1.2.1) have it there. Let's Encrypt has
// no such list, and gives the same order to the same names again.
func (r *run) search() (done bool) {
	account, err := r.client().GetAccount(r.ctx, acmez.Account{PrivateKey: r.key})
	if err == nil && httpsURL(account.Orders) {
		account.PrivateKey = r.key
		var urls []string
		if urls, err = r.listOrders(account); err == nil {
			done, err = r.match(account, urls)
		}
	}
	if err != nil {
		if f := r.exchange.failureOf(err); f.Status != 404 {
			r.fault(err)
			return true
		}
	}
	return done
}

// nextPage finds the address in a Link header (RFC 8288).
var nextPage = regexp.MustCompile(`<([^<>]+)>\s*;\s*rel="?next"?`)

// listOrders reads all pages. The library has no call for it: it asks as for an
// order, and the exchange has seen the answer.
func (r *run) listOrders(account acmez.Account) ([]string, error) {
	var out []string
	for page, from := 0, account.Orders; page < maxPages && httpsURL(from); page++ {
		if _, err := r.client().GetOrder(r.ctx, account, acmez.Order{Location: from}); err != nil {
			return nil, err
		}
		body, links := r.exchange.last()
		var list struct {
			Orders []string `json:"orders"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, nil
		}
		out, from = append(out, list.Orders...), ""
		for _, l := range links {
			if m := nextPage.FindStringSubmatch(l); m != nil {
				from = m[1]
			}
		}
	}
	return out, nil
}

// match takes the newest open order for exactly the names, the profile and nothing
// else.
func (r *run) match(account acmez.Account, urls []string) (bool, error) {
	slices.Reverse(urls)
	for _, u := range urls[:min(len(urls), maxSearched)] {
		if !httpsURL(u) {
			continue
		}
		got, err := r.client().GetOrder(r.ctx, account, acmez.Order{Location: u})
		if err != nil {
			return false, err
		}
		var names []string
		for _, id := range got.Identifiers {
			names = append(names, id.Value)
		}
		slices.Sort(names)
		wanted := slices.Sorted(slices.Values(r.spec.Names))
		open := got.Status == acmez.StatusPending || got.Status == acmez.StatusReady
		if open && slices.Equal(names, wanted) && len(got.Authorizations) <= maxAuthorizations &&
			(r.spec.Profile == "" || got.Profile == r.spec.Profile) {
			r.Order.URL = u
			r.take(got)
			return true, nil
		}
	}
	return false, nil
}
