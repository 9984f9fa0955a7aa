// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package recount

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// upstream is what Envoy says of an answer that was not its own, and answered a code of
// such answers: no count keeps which.
const (
	upstream = "via_upstream"
	answered = 200
)

// entryOf is what the proxy that takes a class of requests would log of one of them; nil
// where that is not known, or where it never comes to be a request.
func entryOf(c *ask.Compared) *accesslog.Entry {
	e := &accesslog.Entry{
		Writer: accesslog.Writer{Namespace: c.Node.Namespace, Pod: c.Node.Name}, Local: c.To,
		Route: c.Before.Route, Cluster: "outbound|", Peer: c.Request.Identity, Shows: accesslog.Shows{Peer: true},
	}
	if c.Node.Type == xds.Sidecar {
		e.Cluster = fmt.Sprintf("inbound|%d||", c.To.Port())
	}
	if c.HTTP {
		e.Method, e.Path, e.Authority, e.Code = c.Request.Method, c.Request.Path, c.Request.Host, answered
	}
	switch {
	case c.Before.Outcome == decide.Unknown, c.Before.Outcome == decide.Fails:
		return nil
	case c.Before.Outcome != decide.Allow && c.Before.Last == c.Node.String():
		e.Code, e.Details = c.Before.Code, strings.ReplaceAll(c.Before.Details, " ", "_")
		return e
	}
	// Somebody behind the proxy answers, and be it another proxy.
	if c.HTTP {
		e.Details = upstream
	}
	for _, name := range c.Before.Taken {
		if decide.PolicyOf(name) != nil {
			e.RBAC.Enforced = accesslog.Noted{Verdict: accesslog.NotedAllowed, Policy: name}
			break
		}
	}
	return e
}
