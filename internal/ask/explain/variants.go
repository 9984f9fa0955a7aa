// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// maxVariants bounds how many requests are tried, and maxNamed how many of those
// that pass are named.
const (
	maxVariants = 200
	maxNamed    = 5
)

// variants finds what about a refused request was not right: requests that differ
// from it in one thing, and pass. Each was decided like any other request, so what
// is said of it is as sure as the refusal.
func (w world) variants(r *ask.Request) []string {
	var out []string
	tried := 0
	try := func(change ask.Request, says string, arguments ...any) {
		if tried++; tried > maxVariants || len(out) >= maxNamed {
			return
		}
		if a, err := w.Can(&change); err == nil && a.Outcome == decide.Allow {
			out = append(out, fmt.Sprintf(says, arguments...))
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		if method != r.Method && (r.Method != "" || method != "GET") {
			change := *r
			change.Method = method
			try(change, "with the method %s it would pass", method)
		}
	}
	if r.From == nil {
		if r.URL.Scheme == "http" {
			change, u := *r, *r.URL
			u.Scheme = "https"
			change.URL = &u
			try(change, "over https it would pass")
		}
		return out
	}
	// A short name means something else in another namespace.
	absolute := *r.URL
	if service := w.Directory.Find(r.URL.Hostname(), r.From.Namespace); service != nil {
		absolute.Host = service.Host
		if port := r.URL.Port(); port != "" {
			absolute.Host += ":" + port
		}
	}
	seen := map[string]bool{}
	for _, node := range w.Nodes {
		identity := node.Identity()
		if seen[identity.Principal()] {
			continue
		}
		seen[identity.Principal()] = true
		change := *r
		change.URL = &absolute
		change.From = &ask.WorkloadRef{Namespace: node.Namespace, Name: node.Name}
		try(change, "from %s/%s it would pass (account %s)", node.Namespace, node.Name, node.ServiceAccount)
	}
	return out
}
