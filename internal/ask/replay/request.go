// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"net/url"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// RequestOf is the request of a line, as far as the line says it; nil with the
// reason where it does not say enough. From overrides who sent it.
func RequestOf(w *ask.World, e *accesslog.Entry, from *ask.WorkloadRef) (*ask.Request, string) {
	if e.Method == "" || e.Path == "" || e.Authority == "" {
		return nil, "the line is about a connection, and not about a request that could be decided"
	}
	scheme := "http"
	if e.ServerName != "" && !strings.HasPrefix(e.ServerName, "outbound_.") {
		scheme = "https"
	}
	r := &ask.Request{From: from, Method: e.Method, Target: e.Path, HTTP2: strings.HasPrefix(e.Protocol, "HTTP/2")}
	path, query, _ := strings.Cut(e.Path, "?")
	r.URL = &url.URL{Scheme: scheme, Host: e.Authority, Path: path, RawQuery: query}
	if r.URL.Hostname() == "" {
		return nil, "the host of the line cannot be read"
	}
	if from != nil {
		r.URL.Scheme = "http"
		return r, ""
	}
	if e.Inbound() || strings.HasPrefix(e.ServerName, "outbound_.") {
		if r.From = senderOf(w, e); r.From == nil {
			return nil, "the line was written by the server's proxy and does not say who called"
		}
		r.URL.Scheme = "http"
	}
	return r, ""
}

// senderOf finds the workload that a line of a server's proxy is about: by its
// identity where the format has it, else by its address.
func senderOf(w *ask.World, e *accesslog.Entry) *ask.WorkloadRef {
	for _, n := range w.Nodes {
		if e.Peer != "" && e.Peer == n.Identity().SPIFFE() {
			return &ask.WorkloadRef{Namespace: n.Namespace, Name: n.Name}
		}
	}
	if e.Peer != "" || !e.Remote.IsValid() {
		return nil
	}
	if nodes := w.Proxies.At(e.Remote.Addr()); len(nodes) > 0 {
		return &ask.WorkloadRef{Namespace: nodes[0].Namespace, Name: nodes[0].Name}
	}
	return nil
}
