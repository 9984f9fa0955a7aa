// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// Certainty is how sure a cause is.
type Certainty string

// The certainties.
const (
	// Certain: the lines allow no other cause.
	Certain Certainty = "Certain"
	// Likely: other causes would be unusual.
	Likely Certainty = "Likely"
	// Possible: others are as good.
	Possible Certainty = "Possible"
)

var order = map[Certainty]int{Certain: 0, Likely: 1, Possible: 2}

// Side is one of the two ends of a connection.
type Side string

// The sides.
const (
	Client Side = "Client"
	Server Side = "Server"
)

func (s Side) other() Side {
	if s == Client {
		return Server
	}
	return Client
}

// Candidate is a cause that the lines speak for.
type Candidate struct {
	Cause     Cause
	Certainty Certainty
	// Why is what in the lines speaks for it: a sentence without a period.
	Why string
	// Needs is what would make it certain, without a period; empty where it is.
	Needs string
	// Holder is whose certificate it is about, empty where it is about none.
	Holder Side
	// Names are those that the certificate has (NameMismatch), where a line says it.
	Names []string
	// Policy is the rule of an AuthorizationPolicy as Envoy names it
	// (AuthorizationDenied): empty where no rule that allows matched.
	Policy string
}

// Lines are what is known of one request. One of Client and Server may be nil.
type Lines struct {
	// Client is the line of the proxy that sent it on: of the client's sidecar or of a
	// gateway, which has clients of its own. A gateway's line belongs here even where
	// it got no further than that proxy (see SideOf, which cannot know).
	Client *accesslog.Entry
	// Server is the line of the proxy that it was sent to.
	Server *accesslog.Entry
	// Earlier is a line of the client's proxy about an earlier request that went well
	// on the connection to the server that this one used (see Reused); nil for none.
	Earlier *accesslog.Entry
}

// Of are the causes that lines speak for, the most certain first; at least one.
func Of(l Lines) []Candidate {
	var out []Candidate
	switch {
	case l.Client == nil && l.Server == nil:
	case l.Client == nil:
		out = alone(view{entry: l.Server, side: Server})
	default:
		sent := view{entry: l.Client, side: Client, reused: l.Earlier != nil && Reused(l.Earlier, l.Client)}
		out = alone(sent)
		if l.Server != nil {
			out = joined(out, sent, view{entry: l.Server, side: Server})
		}
	}
	if len(out) == 0 {
		out = []Candidate{{Cause: Unrecognised, Certainty: Possible, Why: "nothing in the lines is known to be the sign of a failure", Needs: "the line of the other proxy"}}
	}
	slices.SortStableFunc(out, func(a, b Candidate) int { return cmp.Compare(order[a.Certainty], order[b.Certainty]) })
	return out
}

// SideOf is the side whose proxy wrote a line, as the line itself says it: one that
// was sent on names where to, and one that got no further was written by who
// received it.
func SideOf(e *accesslog.Entry) Side {
	if e.Cluster == "" && slices.ContainsFunc(e.Flags, func(f string) bool { return f == "NR" || f == "DPE" }) || e.Inbound() || e.DownstreamFailure != "" {
		return Server
	}
	return Client
}

// view is a line, and from where it is looked at.
type view struct {
	entry *accesslog.Entry
	// side is that of the proxy that wrote it.
	side Side
	// reused: the connection had carried a request before.
	reused bool
}

func (v view) flag(names ...string) bool {
	return slices.ContainsFunc(v.entry.Flags, func(f string) bool { return slices.Contains(names, f) })
}

// details are the response code details, or those of a connection.
func (v view) details() string { return cmp.Or(v.entry.Details, v.entry.Termination) }

// upstreamFailure is why the connection upstream failed. Where the line has no field
// for it, the details say it in braces.
func (v view) upstreamFailure() string {
	reason := v.entry.TransportFailure
	if reason == "" {
		if _, after, ok := strings.Cut(v.details(), "connection_failure|"); ok {
			reason = strings.TrimSuffix(after, "}")
		}
	}
	return reason
}

// normal is a text of Envoy without what differs between its versions.
func normal(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "_")) }

// slow is longer than two proxies need to find that they cannot speak.
const slow = time.Second

// wasSlow: the connection stood for longer than a refused one does.
func (v view) wasSlow() bool { return v.entry.Duration >= slow }

// toApplication: what it was sent to is the application beside the proxy.
func (v view) toApplication() bool { return v.entry.Inbound() }

// carriedRequest: the proxy read a request. What it is about came through the
// handshake, if there was one.
func (v view) carriedRequest() bool { return v.entry.Method != "" }

// alone are the causes that one line speaks for; none where it is not known.
func alone(v view) []Candidate {
	for _, read := range []func(view) []Candidate{refused, handshake, noChain, malformed, unconnected, flagged, broken, answered, retried} {
		if out := read(v); out != nil {
			return out
		}
	}
	return nil
}
