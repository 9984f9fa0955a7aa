// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
)

// view is a class as one proxy on the way sees it.
type view struct {
	point *class.Point
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

// takes is whether every request of the class takes a pattern.
func (v *view) takes(d class.Dimension, p atom.Pattern) truth {
	if sign, known := v.point.Takes(d, p); known {
		return is(sign)
	}
	return open
}

// places are the headers in which tokens are sent, in order.
func (v *view) places() string {
	return strings.Join(slices.Sorted(maps.Keys(v.placed)), ",")
}

// rewriting is a prefix of paths that was replaced, or a path that was.
type rewriting struct {
	is, whole bool
	from, to  string
}

// translate turns a comparison at this proxy into one of the request as it was
// sent; the answer is open unless it does not depend on the request.
func (v *view) translate(d class.Dimension, p atom.Pattern) (class.Dimension, atom.Pattern, truth) {
	if value, known := v.known(d); known {
		return d, p, is(value != nil && p.Match(*value))
	}
	switch d.Kind {
	case class.Identity, class.Address, class.Host:
	case class.Path:
		if v.path.is {
			return v.path.back(d, p)
		}
	case class.Header:
		if v.placed[d.Name] {
			return class.Dimension{Kind: class.Token}, atom.Pattern{Kind: atom.Present}, unlikely(p)
		}
	case class.Token, class.Claim:
		if !v.tokens || v.taken {
			return d, p, no
		}
		if d.Kind == class.Claim {
			return v.claim(d, p)
		}
	case class.Method, class.Parameter:
	}
	return d, p, open
}

// known is what this proxy sees of a dimension whatever the request is; nil where
// that is nothing.
func (v *view) known(d class.Dimension) (value *string, known bool) {
	switch d.Kind {
	case class.Identity:
		if v.tls {
			return v.identity, v.identity != nil
		}
		return nil, true
	case class.Address:
		if v.address.IsValid() {
			text := v.address.String()
			return &text, true
		}
	case class.Host:
		return v.host, v.host != nil
	case class.Method, class.Path, class.Header, class.Parameter, class.Token, class.Claim:
	}
	return nil, false
}

// claim waits until it is known whether there is a token.
func (v *view) claim(d class.Dimension, p atom.Pattern) (class.Dimension, atom.Pattern, truth) {
	token, present := class.Dimension{Kind: class.Token}, atom.Pattern{Kind: atom.Present}
	switch v.takes(token, present) {
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

func (r rewriting) back(d class.Dimension, p atom.Pattern) (class.Dimension, atom.Pattern, truth) {
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

func (secured) value(v *view) truth                               { return is(v.tls) }
func (secured) leaves(*view, func(class.Dimension, atom.Pattern)) {}

// serverName compares the name that the client asks for in TLS, which is the host.
type serverName struct{ patterns []atom.Pattern }

func (s serverName) value(v *view) truth {
	if len(s.patterns) == 0 {
		return open
	}
	if !v.tls {
		return is(s.patterns[0].Match(""))
	}
	return s.host().value(v)
}

// host is what the host has to be: in TLS it has no port.
func (s serverName) host() leaf {
	p := s.patterns[0]
	if p.Kind == atom.Exact {
		p.Kind = atom.AnyPort
	}
	return leaf{class.Dimension{Kind: class.Host}, p}
}

func (s serverName) leaves(v *view, add func(class.Dimension, atom.Pattern)) {
	if v.tls && len(s.patterns) > 0 {
		s.host().leaves(v, add)
	}
}
