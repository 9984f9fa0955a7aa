// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Table is a RouteConfiguration, compiled.
type Table struct {
	config    *routev3.RouteConfiguration
	overrides overrides
	mutation  mutation
	// unknown: no request can be decided by this table, and why.
	unknown string

	exact              map[string]*VirtualHost
	suffixes, prefixes []wildcards // the longest first
	fallback           *VirtualHost
	runtime            map[string]string
}

// wildcards are the domains with a star that have so many other bytes, by these.
type wildcards struct {
	length int
	hosts  map[string]*VirtualHost
}

// VirtualHost is one virtual host of a Table.
type VirtualHost struct {
	table     *Table
	config    *routev3.VirtualHost
	overrides overrides
	mutation  mutation
	// unknown: its routes cannot be decided, and why.
	unknown string
	routes  []*Route
	index   index
	// toHTTPS answers requests in plaintext, where TLS is required.
	toHTTPS *Route
}

// Name of the virtual host, unique in its table.
func (v *VirtualHost) Name() string { return v.config.GetName() }

// Proto is what it was made from; it must not be changed.
func (v *VirtualHost) Proto() *routev3.VirtualHost { return v.config }

// Surroundings are what a route table takes from elsewhere in the proxy's
// configuration. The zero value is a proxy that says nothing of it.
type Surroundings struct {
	// Runtime are the values of the proxy's runtime layers, by key.
	Runtime map[string]string
}

// Compile reads a route configuration. What Envoy would refuse, and what cannot
// be decided, makes the requests that it concerns Unknown; it never fails.
func Compile(c *routev3.RouteConfiguration, s Surroundings) *Table {
	t := &Table{
		config: c, exact: map[string]*VirtualHost{}, runtime: s.Runtime, overrides: newOverrides(c.GetTypedPerFilterConfig()),
		mutation: newMutation(c.GetRequestHeadersToAdd(), c.GetRequestHeadersToRemove()),
	}
	if c == nil {
		t.unknown = "the route configuration is missing"
		return t
	}
	if err := c.Validate(); err != nil {
		t.unknown = fmt.Sprintf("the proxy refuses the route configuration %s: %v", c.GetName(), err)
		return t
	}
	for _, v := range c.GetVirtualHosts() {
		host := t.virtualHost(v)
		for _, domain := range v.GetDomains() {
			if !t.claim(strings.ToLower(domain), host) {
				t.unknown = fmt.Sprintf("the proxy refuses the route configuration %s: the domain %s is there twice", c.GetName(), domain)
			}
		}
	}
	longestFirst := func(a, b wildcards) int { return b.length - a.length }
	slices.SortFunc(t.suffixes, longestFirst)
	slices.SortFunc(t.prefixes, longestFirst)
	return t
}

// claim gives a domain to a virtual host; false where it is taken.
func (t *Table) claim(domain string, v *VirtualHost) bool {
	if domain == "*" {
		taken := t.fallback != nil
		t.fallback = v
		return !taken
	}
	hosts := t.exact
	if rest, is := strings.CutPrefix(domain, "*"); is {
		domain, hosts = rest, bucket(&t.suffixes, len(rest))
	} else if rest, is := strings.CutSuffix(domain, "*"); is {
		domain, hosts = rest, bucket(&t.prefixes, len(rest))
	}
	_, taken := hosts[domain]
	hosts[domain] = v
	return !taken
}

func bucket(all *[]wildcards, length int) map[string]*VirtualHost {
	for _, w := range *all {
		if w.length == length {
			return w.hosts
		}
	}
	*all = append(*all, wildcards{length, map[string]*VirtualHost{}})
	return (*all)[len(*all)-1].hosts
}

// VirtualHost is the one that a request belongs to, by its host: an exact domain,
// then the longest "*.example.com", then the longest "example.*", then "*". It is
// nil where there is none.
func (t *Table) VirtualHost(s *stream.Stream) *VirtualHost {
	if len(t.exact) == 0 && len(t.suffixes) == 0 && len(t.prefixes) == 0 {
		return t.fallback
	}
	host, has := s.Headers.Get(t.hostHeader())
	if !has {
		return nil
	}
	if t.config.GetIgnorePortInHostMatching() {
		if at := hcm.PortStart(host); at >= 0 {
			host = host[:at]
		}
	}
	host = asciiLower(host)
	if v := t.exact[host]; v != nil {
		return v
	}
	for _, w := range t.suffixes {
		// A star stands for one byte at least.
		if w.length < len(host) {
			if v := w.hosts[host[len(host)-w.length:]]; v != nil {
				return v
			}
		}
	}
	for _, w := range t.prefixes {
		if w.length < len(host) {
			if v := w.hosts[host[:w.length]]; v != nil {
				return v
			}
		}
	}
	return t.fallback
}

func (t *Table) hostHeader() string {
	if h := t.config.GetVhostHeader(); h != "" {
		return strings.ToLower(h)
	}
	return stream.Authority
}

// asciiLower changes ASCII letters only: a host is bytes for Envoy.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// virtualHost compiles one. Its faults are Unknown for its requests only where
// Envoy takes the table.
func (t *Table) virtualHost(c *routev3.VirtualHost) *VirtualHost {
	v := &VirtualHost{
		table: t, config: c, overrides: newOverrides(c.GetTypedPerFilterConfig()),
		mutation: newMutation(c.GetRequestHeadersToAdd(), c.GetRequestHeadersToRemove()),
	}
	if c.GetMatcher() != nil {
		if len(c.GetRoutes()) > 0 {
			t.unknown = "the proxy refuses the virtual host " + c.GetName() + ": it has routes and a matcher"
		}
		v.unknown = "the virtual host " + c.GetName() + " chooses its routes by a matcher tree"
	}
	if c.GetRequireTls() != routev3.VirtualHost_NONE {
		v.toHTTPS = httpsRedirect(v)
	}
	for i, r := range c.GetRoutes() {
		compiled, err := newRoute(v, r)
		if err != nil {
			t.unknown = fmt.Sprintf("the proxy refuses route %d (%s) of the virtual host %s: %v", i, r.GetName(), c.GetName(), err)
			continue
		}
		v.routes = append(v.routes, compiled)
	}
	v.index = newIndex(v.routes)
	return v
}
