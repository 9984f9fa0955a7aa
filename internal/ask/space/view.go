// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
)

// Point is what is settled of a class so far: a list of values that only grows.
// Nil is nothing.
type Point struct {
	before    *Point
	dimension Dimension
	value     Value
	index     map[atom.Pattern]int
}

func (p *Point) with(d Dimension, v Value, index map[atom.Pattern]int) *Point {
	return &Point{before: p, dimension: d, value: v, index: index}
}

// at is the newest settlement of a dimension.
func (p *Point) at(d Dimension) *Point {
	for ; p != nil; p = p.before {
		if p.dimension == d {
			return p
		}
	}
	return nil
}

// Value is what is settled of one dimension.
func (p *Point) Value(d Dimension) (Value, bool) {
	if at := p.at(d); at != nil {
		return at.value, true
	}
	return Value{}, false
}

// Each passes the settled dimensions, each once, the first settled first.
func (p *Point) Each(do func(Dimension, Value)) {
	var order []*Point
	for ; p != nil; p = p.before {
		if !slices.ContainsFunc(order, func(o *Point) bool { return o.dimension == p.dimension }) {
			order = append(order, p)
		}
	}
	for _, o := range slices.Backward(order) {
		do(o.dimension, o.value)
	}
}

// takes is whether every request of the class takes a pattern.
func (p *Point) takes(d Dimension, pattern atom.Pattern) truth {
	at := p.at(d)
	if at == nil {
		// Every request has these.
		if pattern.Kind == atom.Present && !optional(d.Kind) {
			return yes
		}
		return open
	}
	if !at.value.Absent {
		if i, ok := at.index[pattern]; ok {
			return is(at.value.Signs[i])
		}
	}
	if sign, known := at.value.takes(pattern); known {
		return is(sign)
	}
	return open
}

// view is a class as one proxy on the way sees it.
type view struct {
	point *Point
	// port is the one that the connection to this proxy goes to.
	port uint32
	// tls: the connection is encrypted. identity is the client's certificate, where
	// a proxy before has put its own; address where it comes from then.
	tls      bool
	identity *string
	address  netip.Addr
	// host and path are what proxies before have made of them.
	host *string
	path rewriting
	// tokens are looked for at this proxy; taken: one before has removed them; kept:
	// this one does not.
	tokens, taken, kept bool
	// placed are headers in which tokens are sent.
	placed map[string]bool
	blind  func(what string)
}

// rewriting is a prefix of paths that was replaced, or a path that was.
type rewriting struct {
	is, whole bool
	from, to  string
}

// translate turns a comparison at this proxy into one of the request as it was
// sent; the answer is open unless it does not depend on the request.
func (v *view) translate(d Dimension, p atom.Pattern) (Dimension, atom.Pattern, truth) {
	if value, known := v.known(d); known {
		return d, p, is(value != nil && p.Match(*value))
	}
	switch d.Kind {
	case Identity, Address, Host:
	case Path:
		if v.path.is {
			return v.path.back(d, p)
		}
	case Header:
		if v.placed[d.Name] {
			return Dimension{Kind: Token}, atom.Pattern{Kind: atom.Present}, unlikely(p)
		}
	case Token, Claim:
		if !v.tokens || v.taken {
			return d, p, no
		}
		if d.Kind == Claim {
			return v.claim(d, p)
		}
	case Method, Parameter:
	}
	return d, p, open
}

// known is what this proxy sees of a dimension whatever the request is; nil where
// that is nothing.
func (v *view) known(d Dimension) (value *string, known bool) {
	switch d.Kind {
	case Identity:
		if v.tls {
			return v.identity, v.identity != nil
		}
		return nil, true
	case Address:
		if v.address.IsValid() {
			text := v.address.String()
			return &text, true
		}
	case Host:
		return v.host, v.host != nil
	case Method, Path, Header, Parameter, Token, Claim:
	}
	return nil, false
}

// claim waits until it is known whether there is a token.
func (v *view) claim(d Dimension, p atom.Pattern) (Dimension, atom.Pattern, truth) {
	token, present := Dimension{Kind: Token}, atom.Pattern{Kind: atom.Present}
	switch v.point.takes(token, present) {
	case no:
		return d, p, no
	case open:
		return token, present, open
	case yes:
	}
	return d, p, open
}

// unlikely is for a header that holds a token: without one it is not sent, and
// with one it takes a pattern or not.
func unlikely(p atom.Pattern) truth {
	if p.Match("Bearer token") {
		return open
	}
	return no
}

func (r rewriting) back(d Dimension, p atom.Pattern) (Dimension, atom.Pattern, truth) {
	switch {
	case r.whole:
		return d, p, is(p.Match(r.to))
	case p.Kind == atom.Exact || p.Kind == atom.Prefix || p.Kind == atom.Segments:
		if rest, ok := strings.CutPrefix(p.Text, r.to); ok {
			p.Text = r.from + rest
			return d, p, open
		}
		return d, p, is(p.Kind != atom.Exact && strings.HasPrefix(r.to, p.Text) && (p.Kind == atom.Prefix || strings.HasPrefix(r.to, p.Text+"/")))
	}
	return d, p, open
}

// secured is any TLS.
type secured struct{}

func (secured) value(v *view) truth                         { return is(v.tls) }
func (secured) leaves(*view, func(Dimension, atom.Pattern)) {}

// serverName compares the name that the client asks for in TLS, which is the host.
type serverName struct{ patterns []atom.Pattern }

func (s serverName) value(v *view) truth {
	if len(s.patterns) == 0 {
		return open
	}
	if !v.tls {
		return is(s.patterns[0].Match(""))
	}
	return leaf{Dimension{Kind: Host}, s.patterns[0]}.value(v)
}

func (s serverName) leaves(v *view, add func(Dimension, atom.Pattern)) {
	if v.tls && len(s.patterns) > 0 {
		leaf{Dimension{Kind: Host}, s.patterns[0]}.leaves(v, add)
	}
}

// Settled is a class with one text in one dimension.
func Settled(d Dimension, text string) *Point {
	return (*Point)(nil).with(d, Value{Texts: []string{text}, Single: true}, nil)
}
