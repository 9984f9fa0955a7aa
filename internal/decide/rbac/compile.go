// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// maximumDepth bounds how deep rules are nested. Protobuf's own parsers stop at
// 100 messages.
const maximumDepth = 100

var (
	errEmpty  = errors.New("it is empty, and Envoy refuses that")
	errDeep   = fmt.Errorf("it is nested deeper than %d", maximumDepth)
	errHeader = errors.New("it matches a header, which Envoy refuses in a network filter")
)

// compiler turns the messages of one set of rules into conditions.
type compiler struct{ network bool }

func (c *compiler) policy(name string, p *rbacv3.Policy) (policy, error) {
	out := policy{name: name}
	if p.GetCondition() != nil || p.GetCheckedCondition() != nil {
		out.why = "it has a condition in CEL"
	}
	if len(p.GetPermissions()) == 0 || len(p.GetPrincipals()) == 0 {
		return policy{}, errors.New("it has no permission or no principal, and Envoy refuses that")
	}
	var err error
	if out.permission, err = each(p.GetPermissions(), 0, c.permission); err != nil {
		return policy{}, err
	}
	out.principals, err = each(p.GetPrincipals(), 0, c.principal)
	return out, err
}

// each compiles what is listed in a set.
func each[T any](in []T, depth int, compile func(T, int) (condition, error)) ([]condition, error) {
	if depth > maximumDepth {
		return nil, errDeep
	}
	var out []condition
	for _, one := range in {
		c, err := compile(one, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// all and any combine conditions; of an empty set Envoy refuses both.
func all(cs []condition, err error) (condition, error) {
	if err == nil && len(cs) == 0 {
		err = errEmpty
	}
	if len(cs) == 1 {
		return cs[0], err
	}
	return func(s *stream.Stream) match.Answer {
		return match.And(cs, func(c condition) match.Answer { return c(s) })
	}, err
}

func some(cs []condition, err error) (condition, error) {
	if err == nil && len(cs) == 0 {
		err = errEmpty
	}
	if len(cs) == 1 {
		return cs[0], err
	}
	return func(s *stream.Stream) match.Answer { return anyOf(cs, s) }, err
}

func anyOf(cs []condition, s *stream.Stream) match.Answer {
	return match.Or(cs, func(c condition) match.Answer { return c(s) })
}

func not(c condition, err error) (condition, error) {
	return func(s *stream.Stream) match.Answer { return c(s).Not() }, err
}

// always is "any", which Envoy takes for true alone.
func always(any bool) (condition, error) {
	if !any {
		return nil, errors.New("\"any\" is false, and Envoy refuses that")
	}
	return func(*stream.Stream) match.Answer { return match.Yes }, nil
}

func unknown(why string) (condition, error) {
	return func(*stream.Stream) match.Answer { return match.Cannot(why) }, nil
}

//nolint:gocyclo // One line for each kind of Envoy's message reads better than any table.
func (c *compiler) permission(p *rbacv3.Permission, depth int) (condition, error) {
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return all(each(c.hostsLast(r.AndRules.GetRules()), depth, c.permission))
	case *rbacv3.Permission_OrRules:
		return c.someOf(r.OrRules.GetRules(), depth)
	case *rbacv3.Permission_NotRule:
		if depth > maximumDepth {
			return nil, errDeep
		}
		return not(c.permission(r.NotRule, depth+1))
	case *rbacv3.Permission_Any:
		return always(r.Any)
	case *rbacv3.Permission_Header:
		return c.header(r.Header)
	case *rbacv3.Permission_UrlPath:
		return path(r.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		return template(r.UriTemplate)
	case *rbacv3.Permission_DestinationIp:
		return address(r.DestinationIp, "destination", func(c *stream.Connection) netip.Addr { return c.Local.Addr() })
	case *rbacv3.Permission_DestinationPort:
		return port(r.DestinationPort)
	case *rbacv3.Permission_DestinationPortRange:
		return portRange(r.DestinationPortRange)
	case *rbacv3.Permission_Metadata:
		return metadata(r.Metadata, rbacv3.MetadataSource_DYNAMIC) //nolint:staticcheck // Deprecated, and in use.
	case *rbacv3.Permission_SourcedMetadata:
		return metadata(r.SourcedMetadata.GetMetadataMatcher(), r.SourcedMetadata.GetMetadataSource())
	case *rbacv3.Permission_RequestedServerName:
		return serverName(r.RequestedServerName)
	case *rbacv3.Permission_Matcher:
		return unknown("a permission is the extension " + r.Matcher.GetName())
	}
	return nil, fmt.Errorf("a permission: %w", errEmpty)
}

// someOf is true where one of the permissions is: of many, those that the request's
// host does not rule out are asked.
func (c *compiler) someOf(permissions []*rbacv3.Permission, depth int) (condition, error) {
	if len(permissions) > 0 && depth <= maximumDepth && !slices.ContainsFunc(permissions, func(p *rbacv3.Permission) bool { return p.GetUrlPath() == nil }) {
		return somePath(permissions)
	}
	all, err := each(permissions, depth, c.permission)
	x := newIndex(len(all), func(i int) ([]host, bool) { return needs(permissions[i], depth+1) })
	if err != nil || x == nil {
		return some(all, err)
	}
	return x.some(all), nil
}

//nolint:gocyclo // As permission.
func (c *compiler) principal(p *rbacv3.Principal, depth int) (condition, error) {
	switch i := p.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return all(each(i.AndIds.GetIds(), depth, c.principal))
	case *rbacv3.Principal_OrIds:
		return some(each(i.OrIds.GetIds(), depth, c.principal))
	case *rbacv3.Principal_NotId:
		if depth > maximumDepth {
			return nil, errDeep
		}
		return not(c.principal(i.NotId, depth+1))
	case *rbacv3.Principal_Any:
		return always(i.Any)
	case *rbacv3.Principal_Authenticated_:
		return authenticated(i.Authenticated)
	case *rbacv3.Principal_SourceIp:
		return address(i.SourceIp, "client", direct) //nolint:staticcheck // Deprecated, and in use.
	case *rbacv3.Principal_DirectRemoteIp:
		return address(i.DirectRemoteIp, "client", direct)
	case *rbacv3.Principal_RemoteIp:
		return address(i.RemoteIp, "client", c.remote)
	case *rbacv3.Principal_Header:
		return c.header(i.Header)
	case *rbacv3.Principal_UrlPath:
		return path(i.UrlPath)
	case *rbacv3.Principal_Metadata:
		return metadata(i.Metadata, rbacv3.MetadataSource_DYNAMIC) //nolint:staticcheck // Deprecated, and what Istio writes.
	case *rbacv3.Principal_SourcedMetadata:
		return metadata(i.SourcedMetadata.GetMetadataMatcher(), i.SourcedMetadata.GetMetadataSource())
	case *rbacv3.Principal_FilterState:
		m, err := match.NewFilterState(i.FilterState)
		return func(s *stream.Stream) match.Answer { return m.Match(s.FilterState) }, err
	case *rbacv3.Principal_Custom:
		return unknown("a principal is the extension " + i.Custom.GetName())
	}
	return nil, fmt.Errorf("a principal: %w", errEmpty)
}

// direct is the address of the other end of the connection.
func direct(connection *stream.Connection) netip.Addr { return connection.DirectRemote.Addr() }

// remote is the client's address: of a connection no header has said another.
func (c *compiler) remote(connection *stream.Connection) netip.Addr {
	if c.network || !connection.Remote.IsValid() {
		return connection.DirectRemote.Addr()
	}
	return connection.Remote
}

func (c *compiler) header(m *routev3.HeaderMatcher) (condition, error) {
	if c.network {
		return nil, errHeader
	}
	h, err := match.NewHeader(m)
	return func(s *stream.Stream) match.Answer { return h.Match(&s.Headers) }, err
}

func path(m *matcherv3.PathMatcher) (condition, error) {
	p, err := match.NewPath(m)
	return onPath(match.Paths{p}), err
}

// somePath is true where one of the permissions is, all of which are of the path.
func somePath(permissions []*rbacv3.Permission) (condition, error) {
	paths := make(match.Paths, len(permissions))
	for i, p := range permissions {
		var err error
		if paths[i], err = match.NewPath(p.GetUrlPath()); err != nil {
			return nil, err
		}
	}
	return onPath(paths), nil
}

func onPath(paths match.Paths) condition {
	return func(s *stream.Stream) match.Answer {
		value, there := s.Headers.Get(stream.Path)
		if !there {
			return match.No
		}
		return paths.Match(value)
	}
}

func template(m *corev3.TypedExtensionConfig) (condition, error) {
	t, err := match.NewTemplate(m)
	return func(s *stream.Stream) match.Answer { return t.Match(s.Path()) }, err
}

func address(m *corev3.CidrRange, of string, from func(*stream.Connection) netip.Addr) (condition, error) {
	r, err := match.NewRange(m)
	return func(s *stream.Stream) match.Answer { return match.Contains(r, from(s.Connection), of) }, err
}

// noPort is the answer where nobody has said where a connection goes.
var noPort = match.Cannot("the port of the destination is not given")

func port(wanted uint32) (condition, error) {
	if wanted > 65535 {
		return nil, fmt.Errorf("the port %d does not exist", wanted)
	}
	return func(s *stream.Stream) match.Answer {
		if !s.Connection.Local.IsValid() {
			return noPort
		}
		return match.Is(uint32(s.Connection.Local.Port()) == wanted)
	}, nil
}

func portRange(r *typev3.Int32Range) (condition, error) {
	start, end := r.GetStart(), r.GetEnd()
	if start < 0 || end > 65536 || start >= end {
		return nil, fmt.Errorf("the ports from %d to before %d are no range", start, end)
	}
	return func(s *stream.Stream) match.Answer {
		if !s.Connection.Local.IsValid() {
			return noPort
		}
		port := int32(s.Connection.Local.Port())
		return match.Is(start <= port && port < end)
	}, nil
}

func metadata(m *matcherv3.MetadataMatcher, source rbacv3.MetadataSource) (condition, error) {
	compiled, err := match.NewMetadata(m)
	if source == rbacv3.MetadataSource_ROUTE {
		return func(s *stream.Stream) match.Answer {
			// Without a route there is no answer to turn around.
			if s.RouteMetadata == nil {
				return match.No
			}
			return compiled.Match(s.RouteMetadata)
		}, err
	}
	return func(s *stream.Stream) match.Answer { return compiled.Match(&s.Metadata) }, err
}

func serverName(m *matcherv3.StringMatcher) (condition, error) {
	t, err := match.NewText(m)
	return func(s *stream.Stream) match.Answer {
		if s.Connection.TLS == nil {
			return t.Match(s.Connection.Overheard)
		}
		return t.Match(s.Connection.TLS.ServerName)
	}, err
}

// authenticated compares the client's certificate: any of its URIs, any of its
// DNS names, its subject, in that order. Without a name any TLS will do, even
// where the client gave no certificate.
func authenticated(m *rbacv3.Principal_Authenticated) (condition, error) {
	if m.GetPrincipalName() == nil {
		return func(s *stream.Stream) match.Answer { return match.Is(s.Connection.TLS != nil) }, nil
	}
	t, err := match.NewText(m.GetPrincipalName())
	return func(s *stream.Stream) match.Answer {
		if s.Connection.TLS == nil {
			return match.No
		}
		peer := s.Connection.TLS.Peer
		if peer == nil {
			return t.Match("")
		}
		a := match.Or(peer.URIs, t.Match)
		if a.Truth != match.True {
			a = either(a, match.Or(peer.DNSNames, t.Match))
		}
		if a.Truth != match.True {
			a = either(a, t.Match(peer.Subject))
		}
		return a
	}, err
}

// either is the greater answer, the first of two that are the same.
func either(a, b match.Answer) match.Answer {
	if b.Truth > a.Truth {
		return b
	}
	return a
}
