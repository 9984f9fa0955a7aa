// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// CORS is what the filter envoy.filters.http.cors does with the request: it
// answers preflights (https://fetch.spec.whatwg.org/#cors-preflight-request) of
// origins that the route allows, and lets everything else go on. The second result
// says why that cannot be told. Errors of the policy are Unknown too: Envoy would
// refuse it.
func (c *Case) CORS(s *stream.Stream) (*stream.Reply, string) {
	if c.Route == nil || c.Route.config.GetRoute() == nil {
		return nil, "" // the filter looks at routes that forward only
	}
	policies, err := c.policies()
	if err != nil {
		return nil, err.Error()
	}
	origin, _ := s.Headers.Get("origin")
	if origin == "" || len(policies) == 0 || s.Method() != "OPTIONS" {
		return nil, ""
	}
	enabled, unknown := corsEnabled(policies, c.virtualHost.table.runtime)
	if unknown != "" || !enabled {
		return nil, unknown
	}
	if wanted, _ := s.Headers.Get("access-control-request-method"); wanted == "" {
		return nil, ""
	}
	allowed := allowsOrigin(policies, origin)
	switch allowed.Truth {
	case match.Unknown:
		return nil, allowed.Why
	case match.False:
		if forwards(policies) {
			return nil, ""
		}
		return preflight(policies, "", &s.Headers), ""
	case match.True:
	}
	return preflight(policies, origin, &s.Headers), ""
}

// policies are those of the route and of the virtual host, in this order.
func (c *Case) policies() ([]*corsv3.CorsPolicy, error) {
	overrides, err := c.Overrides("envoy.filters.http.cors")
	if err != nil {
		return nil, fmt.Errorf("reading the CORS policy: %w", err)
	}
	var out []*corsv3.CorsPolicy
	for _, o := range overrides {
		if o.Disabled {
			return nil, nil
		}
		p := &corsv3.CorsPolicy{}
		if err := o.Config.UnmarshalTo(p); err != nil {
			return nil, fmt.Errorf("reading the CORS policy: %w", err)
		}
		out = append(out, p)
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, old := range []*routev3.CorsPolicy{c.Route.config.GetRoute().GetCors(), c.virtualHost.config.GetCors()} { //nolint:staticcheck // deprecated is still in force
		if old != nil {
			out = append(out, modern(old))
		}
	}
	return out, nil
}

func modern(old *routev3.CorsPolicy) *corsv3.CorsPolicy {
	return &corsv3.CorsPolicy{
		AllowOriginStringMatch: old.GetAllowOriginStringMatch(), AllowMethods: old.GetAllowMethods(), AllowHeaders: old.GetAllowHeaders(),
		ExposeHeaders: old.GetExposeHeaders(), MaxAge: old.GetMaxAge(), AllowCredentials: old.GetAllowCredentials(),
		FilterEnabled: old.GetFilterEnabled(), ShadowEnabled: old.GetShadowEnabled(),
		AllowPrivateNetworkAccess: old.GetAllowPrivateNetworkAccess(), ForwardNotMatchingPreflights: old.GetForwardNotMatchingPreflights(),
	}
}

// corsEnabled asks the most specific policy. A part of the requests is Unknown.
func corsEnabled(policies []*corsv3.CorsPolicy, runtime map[string]string) (bool, string) {
	f := policies[0].GetFilterEnabled()
	if f == nil {
		return true, ""
	}
	switch part := newFraction(f, runtime); {
	case part.of == 0:
		return false, ""
	case part.of >= part.out:
		return true, ""
	}
	return false, "CORS is enabled for a part of the requests"
}

func allowsOrigin(policies []*corsv3.CorsPolicy, origin string) match.Answer {
	for _, p := range policies {
		if len(p.GetAllowOriginStringMatch()) == 0 {
			continue
		}
		out := match.No
		for _, m := range p.GetAllowOriginStringMatch() {
			text, err := match.NewText(m)
			if err != nil {
				return match.Cannot(err.Error())
			}
			a := text.Match(origin)
			if a.Truth == match.True || m.GetExact() == "*" {
				return match.Yes
			}
			if a.Truth == match.Unknown {
				out = a
			}
		}
		return out
	}
	return match.No
}

// forwards is whether preflights of other origins go to the application. They do
// unless a policy says otherwise.
func forwards(policies []*corsv3.CorsPolicy) bool {
	says := stated(policies, (*corsv3.CorsPolicy).GetForwardNotMatchingPreflights)
	return says == nil || says.GetValue()
}

// preflight is the answer to an origin, empty for one that is not allowed: that it
// is not named makes the browser refuse. Credentials are allowed as the policy says,
// to that origin too. "*" names what the request asks for.
func preflight(policies []*corsv3.CorsPolicy, origin string, asked *stream.Headers) *stream.Reply {
	reply := &stream.Reply{Code: 200, Details: "cors_response"}
	if origin != "" {
		reply.Headers.Set("access-control-allow-origin", origin)
	}
	if stated(policies, (*corsv3.CorsPolicy).GetAllowCredentials).GetValue() {
		reply.Headers.Set("access-control-allow-credentials", "true")
	}
	set := func(name string, get func(*corsv3.CorsPolicy) string, wildcard string) {
		v := stated(policies, get)
		if v == "" {
			return
		}
		if v == "*" && wildcard != "" {
			v, _ = asked.Get(wildcard)
		}
		reply.Headers.Set(name, v)
	}
	set("access-control-allow-methods", (*corsv3.CorsPolicy).GetAllowMethods, "access-control-request-method")
	set("access-control-allow-headers", (*corsv3.CorsPolicy).GetAllowHeaders, "access-control-request-headers")
	set("access-control-max-age", (*corsv3.CorsPolicy).GetMaxAge, "")
	private, _ := asked.Get("access-control-request-private-network")
	if private == "true" && stated(policies, (*corsv3.CorsPolicy).GetAllowPrivateNetworkAccess).GetValue() {
		reply.Headers.Set("access-control-allow-private-network", "true")
	}
	return reply
}

// stated is a field of the most specific policy that has it; its zero value where
// none has.
func stated[T comparable](policies []*corsv3.CorsPolicy, field func(*corsv3.CorsPolicy) T) T {
	var none T
	for _, p := range policies {
		if v := field(p); v != none {
			return v
		}
	}
	return none
}
