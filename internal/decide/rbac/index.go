// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// indexedFrom is how many policies or permissions are worth an index.
const indexedFrom = 16

// index finds the policies that a request's host does not rule out, or the permissions
// of one. A gateway has policies for each of its hosts, and one that names them all,
// and a request is for one. It leaves out only what cannot match: what is left in is
// asked as before.
type index struct {
	// exact are positions of policies by the host that they need, and prefix by a
	// host with its colon, for any port; in lower case.
	exact, prefix map[string][]int
	// rest are positions of those that no host rules out.
	rest []int
}

// newIndex is for n policies or permissions, of each of which needs tells which hosts
// it needs, and whether it needs one of them. Nil: it is not worth one.
func newIndex(n int, needs func(int) (needed []host, known bool)) *index {
	if n < indexedFrom {
		return nil
	}
	out := &index{exact: map[string][]int{}, prefix: map[string][]int{}}
	for i := range n {
		needed, known := needs(i)
		if !known {
			out.rest = append(out.rest, i)
			continue
		}
		for _, h := range needed {
			table := out.exact
			if h.ports {
				table = out.prefix
			}
			table[h.text] = append(table[h.text], i)
		}
	}
	if len(out.rest) == n {
		return nil
	}
	return out
}

// host is one that a request may be for; with ports it ends in a colon, and anything
// may follow.
type host struct {
	text  string
	ports bool
}

// neededBy are hosts of which a request must have one to match any of the
// permissions; known is false where there may be others.
func neededBy(permissions []*rbacv3.Permission, depth int) (needed []host, known bool) {
	if depth > maximumDepth {
		return nil, false
	}
	for _, p := range permissions {
		one, known := needs(p, depth)
		if !known {
			return nil, false
		}
		needed = append(needed, one...)
	}
	return needed, true
}

func needs(p *rbacv3.Permission, depth int) (needed []host, known bool) {
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		for _, one := range r.AndRules.GetRules() {
			if needed, known := needs(one, depth+1); known {
				return needed, true
			}
		}
	case *rbacv3.Permission_OrRules:
		return neededBy(r.OrRules.GetRules(), depth+1)
	case *rbacv3.Permission_Header:
		return named(r.Header)
	}
	return nil, false
}

// hostsLast puts conditions of nothing but the host behind the others of a set of which
// all must hold: most requests that come so far have that host, since the index has
// asked before. Such a condition is never Unknown, so that its place changes nothing.
func (c *compiler) hostsLast(all []*rbacv3.Permission) []*rbacv3.Permission {
	if c.network || !slices.ContainsFunc(all, ofHostOnly) {
		return all
	}
	out := make([]*rbacv3.Permission, 0, len(all))
	var hosts []*rbacv3.Permission
	for _, p := range all {
		if ofHostOnly(p) {
			hosts = append(hosts, p)
		} else {
			out = append(out, p)
		}
	}
	return append(out, hosts...)
}

func ofHostOnly(p *rbacv3.Permission) bool {
	alternatives := []*rbacv3.Permission{p}
	if or := p.GetOrRules(); or != nil {
		alternatives = or.GetRules()
	}
	return len(alternatives) > 0 && !slices.ContainsFunc(alternatives, func(p *rbacv3.Permission) bool {
		_, host := named(p.GetHeader())
		return !host
	})
}

// named reads a matcher of the host.
func named(m *routev3.HeaderMatcher) (needed []host, known bool) {
	name := strings.ToLower(m.GetName())
	if name != "host" && name != stream.Authority || m.GetInvertMatch() || m.GetTreatMissingHeaderAsEmpty() {
		return nil, false
	}
	if exact := m.GetStringMatch().GetExact(); exact != "" {
		return []host{{text: match.Lower(exact)}}, true
	}
	// Of other beginnings one request may have several.
	if prefix := m.GetStringMatch().GetPrefix(); prefix != "" && strings.IndexByte(prefix, ':') == len(prefix)-1 {
		return []host{{match.Lower(prefix), true}}, true
	}
	return nil, false
}

// some is true where one of the permissions is, of which x is the index.
func (x *index) some(permissions []condition) condition {
	return func(s *stream.Stream) match.Answer {
		authority, there := s.Headers.Single(stream.Authority)
		if !there {
			return anyOf(permissions, s)
		}
		out := match.No
		left := x.of(authority)
		for i, ok := left.next(); ok; i, ok = left.next() {
			switch a := permissions[i](s); {
			case a.Truth == match.True:
				return match.Yes
			case a.Truth == match.Unknown && out.Truth == match.False:
				out = a
			}
		}
		return out
	}
}

// of gives the positions of the policies that may match a request for a host.
func (x *index) of(authority string) candidates {
	authority = match.Lower(authority)
	out := candidates{lists: [3][]int{x.rest, x.exact[authority]}, last: -1}
	if colon := strings.IndexByte(authority, ':'); colon >= 0 {
		out.lists[2] = x.prefix[authority[:colon+1]]
	}
	return out
}

// candidates are positions that next gives each once and in order: those of some
// lists, each in order, or all up to a number.
type candidates struct {
	lists [3][]int
	all   int
	last  int
}

func upTo(n int) candidates { return candidates{all: n, last: -1} }

func (c *candidates) next() (int, bool) {
	if c.all > 0 {
		c.last++
		return c.last, c.last < c.all
	}
	next := -1
	for i := range c.lists {
		for len(c.lists[i]) > 0 && c.lists[i][0] <= c.last {
			c.lists[i] = c.lists[i][1:]
		}
		if len(c.lists[i]) > 0 && (next < 0 || c.lists[i][0] < next) {
			next = c.lists[i][0]
		}
	}
	c.last = max(c.last, next)
	return next, next >= 0
}
