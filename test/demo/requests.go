// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/test/demo/bookinfo"
	"github.com/trellis-mesh/trellis/test/stack"
)

// patience bounds how long one request may take.
const patience = 10 * time.Second

// question is one request with the answer that the documents promise.
type question struct {
	who, request, credential string
	send                     func(context.Context) (*stack.Response, error)
	// want are the statuses that are right; none means that the connection has
	// to be refused.
	want []int
	// holds, if set, has to be in the body, or in Location of a redirect.
	holds string
	says  string
}

// ask sends the request once and says whether the answer is right.
func (q question) ask(ctx context.Context) row {
	r := row{who: q.who, request: q.request, credential: q.credential, says: q.says}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := q.send(ctx)
	switch {
	case err != nil && len(q.want) == 0 && ctx.Err() == nil:
		r.right, r.answer = true, "refused"
	case err != nil:
		r.answer, r.says = "none", fmt.Sprintf("%s (%v)", q.says, err)
	default:
		r.answer = strconv.Itoa(answer.Status)
		where := string(answer.Body) + answer.Header.Get("Location")
		r.right = slices.Contains(q.want, answer.Status) && strings.Contains(where, q.holds)
		if !r.right {
			r.says = fmt.Sprintf("%s; want %v with %q and got: %s", q.says, q.want, q.holds, strings.TrimSpace(where))
		}
	}
	return r
}

// askDataPlane asks everything once, in order, and prints the table.
func (d *demo) askDataPlane(ctx context.Context) error {
	tokens, err := d.tokens()
	if err != nil {
		return err
	}
	d.view.header()
	for _, q := range slices.Concat(d.publicQuestions(), d.tokenQuestions(tokens), d.otherQuestions(tokens), d.meshQuestions()) {
		d.record(q.ask(ctx))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) record(r row) {
	if !r.right {
		d.wrong++
	}
	d.view.row(r)
}

// https asks the gateway's HTTPS port for a path of the public host.
func (d *demo) https(method, path, token string) func(context.Context) (*stack.Response, error) {
	return func(ctx context.Context) (*stack.Response, error) {
		return d.gateway.HTTPS(ctx, d.authority, stack.Request{Method: method, Host: host, Path: path, Header: bearer(token)})
	}
}

func bearer(token string) http.Header {
	if token == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

func (d *demo) publicQuestions() []question {
	return []question{
		{
			who: "anybody", request: "GET https://" + host + "/productpage", credential: "-", send: d.https("GET", "/productpage", ""),
			want: []int{200}, holds: "slapstick", says: "route pages; its reviews and details came over mutual TLS",
		},
		{
			who: "anybody", request: "GET …/static/bookinfo.css", credential: "-", send: d.https("GET", "/static/bookinfo.css", ""),
			want: []int{200}, holds: "font-family", says: "route pages",
		},
		{
			who: "anybody", request: "POST …/productpage", credential: "-", send: d.https("POST", "/productpage", ""),
			want: []int{403}, says: "route pages lists GET and HEAD",
		},
		{
			who: "anybody", request: "GET …/admin", credential: "-", send: d.https("GET", "/admin", ""),
			want: []int{403, 404}, says: "no route covers it",
		},
		{
			who: "anybody", request: "GET …/productpage/..%2fapi/v1/products", credential: "-", send: d.https("GET", "/productpage/..%2fapi/v1/products", ""),
			want: []int{400}, says: "a path that gateway and application could read differently",
		},
	}
}

// credentials are what the table's callers hold.
type credentials struct {
	reader, other, expired, foreign, audience string
}

func (d *demo) tokens() (credentials, error) {
	scope := func(s string) stack.Claims { return stack.Claims{"aud": audience, "scope": s} }
	var c credentials
	var all [5]error
	c.reader, all[0] = d.issuer.Token(scope("openid reviews.read"))
	c.other, all[1] = d.issuer.Token(scope("openid"))
	c.expired, all[2] = d.issuer.ExpiredToken(scope("openid reviews.read"))
	c.audience, all[3] = d.issuer.Token(stack.Claims{"aud": "another-shop", "scope": "openid reviews.read"})
	thief, err := stack.NewIssuer(issuerURL)
	if err != nil {
		return c, err
	}
	c.foreign, all[4] = thief.Token(scope("openid reviews.read"))
	return c, errors.Join(all[:]...)
}

func (d *demo) tokenQuestions(c credentials) []question {
	const products, reviews = "/api/v1/products", "/api/v1/products/0/reviews"
	ask := func(path, credential, token, says, holds string, want ...int) question {
		return question{
			who: "anybody", request: "GET …" + path, credential: credential, send: d.https("GET", path, token),
			want: want, holds: holds, says: says,
		}
	}
	return []question{
		ask(products, "-", "", "route catalogue needs a login", "", 401, 403),
		ask(products, "openid", c.other, "route catalogue", "Comedy of Errors", 200),
		ask(reviews, "-", "", "route reviews, the longer path, needs one too", "", 401, 403),
		ask(reviews, "openid reviews.read", c.reader, "route reviews", "slapstick", 200),
		ask(reviews, "openid", c.other, "route reviews needs the scope reviews.read", "", 403),
		ask(reviews, "reviews.read, expired", c.expired, "the token ended an hour ago", "", 401),
		ask(reviews, "for another audience", c.audience, "the platform's provider is for audience "+audience, "", 403),
		ask(reviews, "signed by another key", c.foreign, "same issuer, but not its key", "", 401),
		ask("/productpage", "signed by another key", c.foreign, "no token is needed; a bad one is refused all the same", "", 401),
	}
}

func (d *demo) otherQuestions(c credentials) []question {
	plain := func(token string) func(context.Context) (*stack.Response, error) {
		return func(ctx context.Context) (*stack.Response, error) {
			return d.gateway.HTTP(ctx, stack.Request{Host: host, Path: "/productpage", Header: bearer(token)})
		}
	}
	return []question{
		{
			who: "anybody", request: "GET http://" + host + "/productpage", credential: "-", send: plain(""),
			want: []int{308}, holds: "https://" + host + "/productpage", says: "insecureRequests: Redirect, to https",
		},
		{
			who: "anybody", request: "GET http://" + host + "/productpage", credential: "openid reviews.read", send: plain(c.reader),
			want: []int{400}, holds: "leaked", says: "a token over plain HTTP has leaked",
		},
		{
			who: "anybody", request: "GET https://reviews.example.com/reviews/0", credential: "-",
			send: func(ctx context.Context) (*stack.Response, error) {
				return d.gateway.HTTPS(ctx, d.authority, stack.Request{Host: "reviews.example.com", Path: "/reviews/0"})
			},
			says: "reviews states no exposure: no such host, not even a handshake",
		},
		{
			who: "anybody", request: "GET …/reviews/0, Host: reviews.example.com", credential: "-",
			send: func(ctx context.Context) (*stack.Response, error) {
				request := stack.Request{Host: "reviews.example.com", Path: "/reviews/0"}
				return stack.Send(ctx, d.gateway.HTTPSAddress, &tls.Config{RootCAs: d.authority, ServerName: host}, request)
			},
			want: []int{403, 404}, says: "nor behind the handshake of a host that exists",
		},
	}
}

// meshQuestions are asked by workloads through their sidecars, so that who asks
// is what their certificates say, and by somebody without one.
func (d *demo) meshQuestions() []question {
	call := func(from, to *stack.Application, path, says, holds string, want ...int) question {
		request := stack.Request{Host: to.Host(bookinfo.Port), Path: path}
		return question{
			who: from.Name, request: "GET http://" + to.Name + path, credential: "-", want: want, holds: holds, says: says,
			send: func(ctx context.Context) (*stack.Response, error) { return from.Do(ctx, request) },
		}
	}
	return []question{
		call(d.productpage, d.details, "/details/0", "details lists productpage as a caller", "Shakespeare", 200),
		call(d.reviews, d.details, "/details/0", "details does not list reviews", "", 403),
		call(d.productpage, d.details, "/health", "details states no such route", "", 403),
		call(d.details, d.productpage, "/api/v1/products", "productpage is called through its gateway alone", "", 403),
		{
			who: "no sidecar", request: "GET http://details/details/0", credential: "-",
			send: func(ctx context.Context) (*stack.Response, error) {
				return stack.Send(ctx, d.details.PortAddress("http"), nil, stack.Request{Host: d.details.Host(bookinfo.Port), Path: "/details/0"})
			},
			says: "mutualTLS: Strict, and this connection is plain",
		},
	}
}
