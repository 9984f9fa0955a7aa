// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package counts joins the entries of access logs to what was written, and counts them: what
// trellis-server does with those of a running mesh, for logs that somebody has.
package counts

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/cli/logfile"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/world"
)

// most bounds the lines that are named of those that could not be read.
const most = 8

// Counts are what is in logs. They are for one goroutine.
type Counts struct {
	// Index is what entries are joined to.
	Index  *attribution.Index
	counts map[hits.Key]hits.Total
	// Entries are all that were read, and Others what is about something else: what another
	// proxy's entry tells, and the agents beside proxies.
	Entries, Others uint64
	// Unknown are those that could not be joined to what was written, by why.
	Unknown map[attribution.Why]uint64
	// Unread is how many lines could not be read, and Own how many are of proxies' own logs,
	// which come with kubectl logs.
	Unread, Own int
	// Named are the first lines that could not be read.
	Named []string
	// First and Last are when the first and the last of the entries began that say so.
	First, Last time.Time
}

// Read counts what is in logs about a mesh; a name of a file may be document.Stdin.
func Read(m *mesh.Mesh, logs []string, stdin io.Reader) (*Counts, error) {
	c := &Counts{Index: IndexOf(m), counts: map[hits.Key]hits.Total{}, Unknown: map[attribution.Why]uint64{}}
	for _, name := range logs {
		if err := logfile.Read(c, name, stdin); err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
	}
	return c, nil
}

// IndexOf is what entries are joined to.
func IndexOf(m *mesh.Mesh) *attribution.Index {
	in := attribution.Input{Applications: m.Applications, Proxies: m.Nodes, RootNamespace: m.About.RootNamespace, TrustDomains: []string{m.About.TrustDomain}}
	for _, object := range m.All() {
		// What somebody wrote by hand has no Go type where it comes from a file.
		if typed := world.As(object, read); typed != nil {
			in.Objects = append(in.Objects, typed)
		}
	}
	return attribution.New(in)
}

// read are the kinds that decide about requests, and where provenance is.
var read = map[string]func() runtime.Object{
	"AuthorizationPolicy":   func() runtime.Object { return &securityv1.AuthorizationPolicy{} },
	"RequestAuthentication": func() runtime.Object { return &securityv1.RequestAuthentication{} },
	"PeerAuthentication":    func() runtime.Object { return &securityv1.PeerAuthentication{} },
	"VirtualService":        func() runtime.Object { return &networkingv1.VirtualService{} },
	"Sidecar":               func() runtime.Object { return &networkingv1.Sidecar{} },
	"EnvoyFilter":           func() runtime.Object { return &networkingv1alpha3.EnvoyFilter{} },
	"ConfigMap":             func() runtime.Object { return &corev1.ConfigMap{} },
}

// Add counts the entries of a line. It implements logfile.Taker.
func (c *Counts) Add(at diagnosis.Place, text string, writer accesslog.Writer) {
	if strings.TrimSpace(text) == "" {
		return
	}
	entries, errs := accesslog.ParseAll(text)
	if len(entries) == 0 && accesslog.Own(text) {
		c.Own++
		return
	}
	for _, err := range errs {
		c.Skip(at, err.Error())
	}
	for _, e := range entries {
		if e.Writer == (accesslog.Writer{}) {
			e.Writer = writer
		}
		c.entry(e)
	}
}

// Skip notes a line that cannot be read. It implements logfile.Taker.
func (c *Counts) Skip(at diagnosis.Place, why string) {
	c.Unread++
	if len(c.Named) < most {
		c.Named = append(c.Named, fmt.Sprintf("%s:%d: %s", at.File, at.Line, strings.TrimPrefix(why, "reading a line of an access log: ")))
	}
}

func (c *Counts) entry(e *accesslog.Entry) {
	c.Entries++
	if at := e.Start; !at.IsZero() {
		if c.First.IsZero() || at.Before(c.First) {
			c.First = at
		}
		if at.After(c.Last) {
			c.Last = at
		}
	}
	of := c.Index.Of(e)
	switch of.Outcome {
	case attribution.Elsewhere, attribution.Aside:
		c.Others++
	case attribution.Unknown:
		c.Unknown[of.Why]++
	case attribution.Attributed:
	}
	for key := range of.Counted {
		c.add(key, e.Start)
	}
}

func (c *Counts) add(key hits.Key, at time.Time) {
	if key.Verdict == "" {
		return
	}
	one := c.counts[key]
	one.Key = key
	one.N++
	if one.First.IsZero() || at.Before(one.First) {
		one.First = at
	}
	if at.After(one.Last) {
		one.Last = at
	}
	c.counts[key] = one
}

// Totals are in order.
func (c *Counts) Totals() []hits.Total {
	return slices.SortedFunc(maps.Values(c.counts), func(a, b hits.Total) int { return a.Compare(b.Key) })
}

// Unplaced is how many entries could not be joined to what was written.
func (c *Counts) Unplaced() uint64 {
	var out uint64
	for _, n := range c.Unknown {
		out += n
	}
	return out
}
