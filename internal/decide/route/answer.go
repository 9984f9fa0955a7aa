// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Answer is what the proxy's router answers by itself: 404 where no route matches,
// a redirection, or a direct response. It is nil where the request goes to a
// cluster. The second result says why the answer cannot be told.
func (c *Case) Answer(s *stream.Stream) (*stream.Reply, string) {
	switch {
	case c.Unknown != "":
		return nil, c.Unknown
	case c.Route == nil:
		return &stream.Reply{Code: 404, Details: "route_not_found", Flags: []string{"NR"}}, ""
	}
	return c.Route.answer(s)
}

func (r *Route) answer(s *stream.Stream) (*stream.Reply, string) {
	if r.config.GetRoute() != nil {
		return nil, ""
	}
	reply := &stream.Reply{Details: "direct_response"}
	switch {
	case r.config.GetRedirect() != nil:
		reply.Code = redirectCode(r.config.GetRedirect().GetResponseCode())
	case r.config.GetDirectResponse() != nil:
		d := r.config.GetDirectResponse()
		reply.Code = int(d.GetStatus())
		if d.GetBody().GetInlineString() != "" {
			reply.Body = d.GetBody().GetInlineString()
		} else {
			reply.Body = string(d.GetBody().GetInlineBytes())
		}
	case r.config.GetNonForwardingAction() != nil:
		return nil, "route " + r.Name() + " does not forward, which only a server of gRPC understands"
	default:
		return nil, ""
	}
	if reply.Code != 201 && (reply.Code < 300 || reply.Code > 399) {
		return reply, ""
	}
	if r == r.virtualHost.toHTTPS {
		reply.Headers.Set("location", "https://"+s.Authority()+s.Path())
		return reply, ""
	}
	path, unknown := r.rewrite.path(r, s)
	if unknown != "" {
		return nil, unknown
	}
	reply.Headers.Set("location", r.location(s, path))
	return reply, ""
}

func redirectCode(c routev3.RedirectAction_RedirectResponseCode) int {
	switch c {
	case routev3.RedirectAction_FOUND:
		return 302
	case routev3.RedirectAction_SEE_OTHER:
		return 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		return 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		return 308
	}
	return 301
}

// httpsRedirect is the route that Envoy has for virtual hosts that require TLS.
func httpsRedirect(v *VirtualHost) *Route {
	return &Route{virtualHost: v, config: &routev3.Route{
		Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
			SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true},
		}},
	}}
}

// location puts the target of a redirection together. The path is the request's,
// rewritten.
func (r *Route) location(s *stream.Stream, path string) string {
	redirect := r.config.GetRedirect()
	scheme, _ := s.Headers.Get(stream.Scheme)
	if redirect.GetSchemeRedirect() != "" {
		scheme = redirect.GetSchemeRedirect()
	} else if redirect.GetHttpsRedirect() {
		scheme = "https"
	}
	port := ""
	if n := redirect.GetPortRedirect(); n != 0 {
		port = ":" + strconv.Itoa(int(n))
	}
	host := redirect.GetHostRedirect()
	if host == "" {
		host = redirectedHost(s, scheme, port)
	}
	ownQuery := strings.Contains(redirect.GetPathRedirect(), "?")
	if to := redirect.GetPathRedirect(); to != "" {
		if at := strings.IndexByte(path, '?'); at >= 0 && !ownQuery {
			to += path[at:]
		}
		path = to
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if redirect.GetStripQuery() && !ownQuery {
		path, _, _ = strings.Cut(path, "?")
	}
	return scheme + "://" + host + port + path
}

// redirectedHost is the request's host. Its port goes where there is a new one, or
// where it is the default one of a scheme that changes.
func redirectedHost(s *stream.Stream, scheme, port string) string {
	host := s.Authority()
	if host == "" {
		return host
	}
	at := strings.LastIndexByte(host, ':')
	if host[0] == '[' {
		if at = strings.LastIndex(host, "]:"); at >= 0 {
			at++
		}
	}
	if at < 0 {
		return host
	}
	before, _ := s.Headers.Get("x-forwarded-proto")
	standard := before == "https" && host[at:] == ":443" || before == "http" && host[at:] == ":80"
	if port != "" || scheme != before && standard {
		return host[:at]
	}
	return host
}
