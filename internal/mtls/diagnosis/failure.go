// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// Conclusion is whether mutual TLS is to blame.
type Conclusion string

// The conclusions.
const (
	// MutualTLS: it is, as far as the certainty of the first candidate goes.
	MutualTLS Conclusion = "MutualTLS"
	// NotMutualTLS: it is not.
	NotMutualTLS Conclusion = "NotMutualTLS"
	// Undecided: there are candidates of both kinds.
	Undecided Conclusion = "Undecided"
	// Untold: nothing is known of it.
	Untold Conclusion = "Untold"
)

// Failure are the requests that failed in one way between a client and a service.
type Failure struct {
	// Client is who sent them: NAMESPACE/NAME, or an address, or empty where the lines do
	// not say it.
	Client string
	// Service is HOST:PORT, or the address that was asked for, and Subset that of a
	// DestinationRule.
	Service, Subset string
	Code            int
	Flags           []string
	// Details are the response code details, those of a connection, or why TLS failed.
	Details string
	// Count is how many there are. Paired are those of which client and server wrote, and
	// Proven those of which the lines alone make it certain.
	Count, Paired, Proven int
	// First and Last are zero where the lines have no time.
	First, Last time.Time
	Examples    []Example
	// Between: a request of the same client went well at the same endpoint between the
	// first and the last of them.
	Between bool
	// Candidates are the causes that are left, the most certain first, and Excluded those
	// that are not.
	Candidates []signature.Candidate
	Excluded   []Excluded
	Conclusion Conclusion
	// Check is what client and service are sent; nil: nobody knows.
	Check *Check
	// Notes say what else there is to know about the conclusion.
	Notes []string

	about parties
	// counter: it is known by a counter, and no line.
	counter bool
}

// Excluded is a cause that something else than a line speaks against.
type Excluded struct {
	Cause signature.Cause `json:"cause"`
	Why   string          `json:"why"`
}

// Check is a row of package mtls, for the endpoints that the lines name.
type Check struct {
	Status mtls.Status
	Why    string
	Row    mtls.Row
	// Client and Service name the pair for trellis mtls; Client is the zero value where it
	// is no workload.
	Client  ask.WorkloadRef
	Service string
}

// Example is one of the requests, without what may be secret in it.
type Example struct {
	Place
	// Server is where the server's proxy writes of the same request.
	Server    *Place    `json:"server,omitempty"`
	Time      time.Time `json:"time,omitzero"`
	Method    string    `json:"method,omitempty"`
	Authority string    `json:"authority,omitempty"`
	// Path is without query.
	Path      string `json:"path,omitempty"`
	RequestID string `json:"requestID,omitempty"`
}

// someExamples is how many are kept of each failure.
const someExamples = 3

func exampleOf(e *event) Example {
	l := e.of()
	out := Example{Place: l.at, Time: l.Start, Method: l.Method, Path: bare(l.Path), RequestID: l.RequestID}
	// What stands before the host is a user and a password.
	out.Authority = l.Authority[strings.LastIndexByte(l.Authority, '@')+1:]
	if e.client != nil && e.server != nil {
		at := e.server.at
		out.Server = &at
	}
	return out
}

// bare is a path without what people put secrets into: query, fragment, parameters, and
// the user of a whole URL.
func bare(path string) string {
	if strings.Contains(path, "://") {
		u, err := url.Parse(path)
		if err != nil {
			return ""
		}
		path = u.EscapedPath()
	}
	if at := strings.IndexAny(path, "?#;"); at >= 0 {
		path = path[:at]
	}
	return path
}

// class is what is alike in details: without the numbers of ports and of errors that
// are in some of them.
func class(l *line) string {
	out := cmp.Or(l.Details, l.Termination)
	for _, reason := range []string{l.TransportFailure, l.DownstreamFailure} {
		if reason != "" && !strings.Contains(out, strings.ReplaceAll(reason, " ", "_")) {
			out = strings.TrimSpace(out + " " + reason)
		}
	}
	return out
}

// kind is what requests have in common that failed in one way.
type kind struct{ client, service, subset, group, flags, class string }

// bucket are those of a kind that have the same candidates.
type bucket struct {
	kind   kind
	code   int
	causes string
}

func causesOf(all []signature.Candidate) string {
	var out []string
	for _, c := range all {
		out = append(out, string(c.Cause)+" "+string(c.Certainty)+" "+string(c.Holder)+" "+c.Policy)
	}
	return strings.Join(out, ",")
}

// grouping makes failures of events.
type grouping struct {
	failures map[bucket]*Failure
	order    []bucket
}

// maxFailures bounds how many kinds are told apart: a client may shape what it asks for.
const maxFailures = 2000

// add reports whether there was a place for it.
func (g *grouping) add(e *event, about parties, found []signature.Candidate) bool {
	l := e.of()
	key := bucket{kind{about.client, about.service, about.subset, about.group, strings.Join(l.Flags, ","), class(l)}, l.Code, causesOf(found)}
	f := g.failures[key]
	if f == nil {
		if len(g.order) >= maxFailures {
			return false
		}
		f = &Failure{
			Client: about.client, Service: about.service, Subset: about.subset, Code: l.Code, Flags: l.Flags, Details: key.kind.class,
			Candidates: found, about: about,
		}
		g.failures[key], g.order = f, append(g.order, key)
	}
	f.Count++
	if e.client != nil && e.server != nil {
		f.Paired++
	}
	if found[0].Certainty == signature.Certain {
		f.Proven++
	}
	if len(f.Examples) < someExamples {
		f.Examples = append(f.Examples, exampleOf(e))
	}
	f.seen(l.Start)
	f.about.meet(about)
	return true
}

func (f *Failure) seen(at time.Time) {
	if at.IsZero() {
		return
	}
	if f.First.IsZero() || at.Before(f.First) {
		f.First = at
	}
	if at.After(f.Last) {
		f.Last = at
	}
}

// list are the failures, the most frequent first. Where the server's lines settle some
// requests of a kind, and nobody has them for others, which one line alone does not
// tell apart from those, they are one failure.
func (g *grouping) list() []*Failure {
	type wider struct {
		kind kind
		code int
	}
	settled, several := map[wider]*Failure{}, map[wider]bool{}
	for _, key := range g.order {
		at, f := wider{key.kind, key.code}, g.failures[key]
		if f.Proven > 0 && f.Paired > 0 {
			several[at] = several[at] || settled[at] != nil
			settled[at] = f
		}
	}
	var out []*Failure
	for _, key := range g.order {
		at, f := wider{key.kind, key.code}, g.failures[key]
		if into := settled[at]; into != nil && into != f && !several[at] && f.mayBe(into.Candidates[0].Cause) {
			into.take(f)
			continue
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b *Failure) int { return cmp.Compare(b.Count, a.Count) })
	return out
}

// mayBe: no cause is more certain than others, and this is one of them.
func (f *Failure) mayBe(cause signature.Cause) bool {
	return f.Candidates[0].Certainty == signature.Possible &&
		slices.ContainsFunc(f.Candidates, func(c signature.Candidate) bool { return c.Cause == cause })
}

func (f *Failure) take(other *Failure) {
	f.Count += other.Count
	f.Paired += other.Paired
	f.seen(other.First)
	f.seen(other.Last)
	f.about.meet(other.about)
}
