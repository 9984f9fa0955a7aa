// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// place is where tokens are looked for.
type place struct {
	header, prefix string // a header, with what is before the token
	parameter      string // a parameter of the query
	cookie         string
	// issuers are those that may be there; anyIssuer: all may.
	issuers   map[string]bool
	anyIssuer bool
}

// places of some providers, in the order in which Envoy reads them: headers,
// parameters, cookies, each by name.
type places struct {
	list []*place
	// own are headers that the filter writes, which clients may not.
	own []string
}

// found is one token of a request.
type found struct {
	text string
	at   *place
}

// written are the headers that a provider's filter writes itself: what a client says
// in them does not count.
func written(c *jwtv3.JwtProvider) []string {
	var out []string
	if name := c.GetForwardPayloadHeader(); name != "" {
		out = append(out, strings.ToLower(name))
	}
	for _, h := range c.GetClaimToHeaders() {
		out = append(out, strings.ToLower(h.GetHeaderName()))
	}
	return out
}

func newPlaces(providers []*provider) *places {
	headers, parameters, cookies := map[string]*place{}, map[string]*place{}, map[string]*place{}
	out := &places{}
	for _, p := range providers {
		c := p.config
		for _, h := range locations(c) {
			name := strings.ToLower(h.GetName())
			add(headers, name+h.GetValuePrefix(), place{header: name, prefix: h.GetValuePrefix()}, c.GetIssuer())
		}
		names := c.GetFromParams()
		if nowhere(c) {
			names = []string{"access_token"}
		}
		for _, name := range names {
			add(parameters, name, place{parameter: name}, c.GetIssuer())
		}
		for _, name := range c.GetFromCookies() {
			add(cookies, name, place{cookie: name}, c.GetIssuer())
		}
		out.own = append(out.own, written(c)...)
	}
	for _, group := range []map[string]*place{headers, parameters, cookies} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			out.list = append(out.list, group[name])
		}
	}
	return out
}

// nowhere: the provider says no place, so that the usual ones hold (RFC 6750).
func nowhere(c *jwtv3.JwtProvider) bool {
	return len(c.GetFromHeaders()) == 0 && len(c.GetFromParams()) == 0 && len(c.GetFromCookies()) == 0
}

func locations(c *jwtv3.JwtProvider) []*jwtv3.JwtHeader {
	if nowhere(c) {
		return []*jwtv3.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}}
	}
	return c.GetFromHeaders()
}

func add(group map[string]*place, name string, at place, issuer string) {
	p, known := group[name]
	if !known {
		at.issuers = map[string]bool{}
		p = &at
		group[name] = p
	}
	p.issuers[issuer] = true
	p.anyIssuer = p.anyIssuer || issuer == ""
}

func (p *place) allows(issuer string) bool { return p.anyIssuer || p.issuers[issuer] }

// sanitize removes the headers that the filter writes.
func (ps *places) sanitize(h *stream.Headers) {
	for _, name := range ps.own {
		h.Remove(name)
	}
}

// find lists the tokens of a request.
func (ps *places) find(s *stream.Stream) []found {
	var out []found
	var query []parameter
	for _, p := range ps.list {
		switch {
		case p.header != "":
			for _, h := range s.Headers.All() {
				if h.Name != p.header {
					continue
				}
				if text, there := after(h.Value, p.prefix); there {
					out = append(out, found{text, p})
				}
			}
		case p.parameter != "":
			if query == nil {
				query = parameters(s.Path())
			}
			if i := slices.IndexFunc(query, func(q parameter) bool { return q.name == p.parameter }); i >= 0 {
				out = append(out, found{query[i].value, p})
			}
		default:
			if text, there := cookie(&s.Headers, p.cookie); there {
				out = append(out, found{text, p})
			}
		}
	}
	return out
}

// tokenCharacters are those of base64url and the dot.
const tokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// after is what follows a prefix, which may be anywhere in the value; what can be
// no token is skipped.
func after(value, prefix string) (string, bool) {
	if prefix == "" {
		return value, true
	}
	_, rest, there := strings.Cut(value, prefix)
	if !there {
		return "", false
	}
	if start := strings.IndexAny(rest, tokenCharacters); start >= 0 {
		return rest[start:], true
	}
	return value, true
}

// parameter is one of a query, decoded.
type parameter struct{ name, value string }

func parameters(path string) []parameter {
	_, query, there := strings.Cut(path, "?")
	out := []parameter{}
	if !there {
		return out
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		out = append(out, parameter{unescape(name), unescape(value)})
	}
	return out
}

// unescape decodes what can be decoded and leaves a text as it is that cannot.
func unescape(text string) string {
	if out, err := url.PathUnescape(text); err == nil {
		return out
	}
	return text
}

// cookie is the first cookie of a name (RFC 6265 §4.2).
func cookie(h *stream.Headers, name string) (string, bool) {
	for _, value := range h.Values("cookie") {
		for part := range strings.SplitSeq(value, ";") {
			key, text, _ := strings.Cut(strings.TrimLeft(part, " "), "=")
			if key != name {
				continue
			}
			if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
				text = text[1 : len(text)-1]
			}
			return text, true
		}
	}
	return "", false
}

// remove takes a token out of the request. Envoy leaves cookies.
func (p *place) remove(s *stream.Stream) {
	switch {
	case p.header != "":
		s.Headers.Remove(p.header)
	case p.parameter != "":
		s.Headers.Set(stream.Path, without(s.Path(), p.parameter))
	}
}

// without is a path without a parameter of its query. Envoy writes the others
// anew: decoded, by name, each with its "=".
func without(path, name string) string {
	before, _, there := strings.Cut(path, "?")
	if !there {
		return path
	}
	kept := slices.DeleteFunc(parameters(path), func(p parameter) bool { return p.name == name })
	slices.SortStableFunc(kept, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	separator := "?"
	for _, p := range kept {
		before += separator + p.name + "=" + p.value
		separator = "&"
	}
	return before
}
