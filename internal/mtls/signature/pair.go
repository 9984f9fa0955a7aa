// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// Relation is how a line of a client's proxy and one of a server's belong together.
type Relation string

// The relations.
const (
	// Unrelated: they are about different requests, or nothing shows that they are not.
	Unrelated Relation = "Unrelated"
	// Near: they are about the same server at the same time.
	Near Relation = "Near"
	// Same: they are about the same request or connection.
	Same Relation = "Same"
)

// near is how far apart the clocks and the lines of two proxies may be.
const near = 2 * time.Second

// Relate compares a line of a client's proxy with one of a server's. The request's ID
// shows that they belong together, unless the server's proxy was not the one that the
// request was sent to: an application passes the ID on. So does the connection: what
// is the client's own end is the server's remote one. A connection that never stood
// has neither; then the endpoint and the time have to do.
func Relate(client, server *accesslog.Entry) Relation {
	if client.Upstream.IsValid() && server.Local.IsValid() && client.Upstream != server.Local {
		return Unrelated
	}
	switch {
	case client.RequestID != "" && server.RequestID != "":
		return sameIf(client.RequestID == server.RequestID)
	case client.UpstreamLocal.IsValid() && server.Remote.IsValid():
		return sameIf(client.UpstreamLocal == server.Remote)
	case client.Upstream.IsValid() && server.Local.IsValid() && together(client, server):
		return Near
	}
	return Unrelated
}

func sameIf(equal bool) Relation {
	if equal {
		return Same
	}
	return Unrelated
}

// together: the server's line begins while the client's request was under way.
func together(client, server *accesslog.Entry) bool {
	if client.Start.IsZero() || server.Start.IsZero() {
		return false
	}
	return !server.Start.Before(client.Start.Add(-near)) && !server.Start.After(client.Start.Add(max(client.Duration, 0)+near))
}

// Reused reports whether two lines of one client's proxy are about the same connection
// to the server, of which the earlier carried a request to its end.
func Reused(earlier, later *accesslog.Entry) bool {
	if !earlier.UpstreamLocal.IsValid() || earlier.UpstreamLocal != later.UpstreamLocal || earlier.Upstream != later.Upstream {
		return false
	}
	return earlier.Method != "" && accesslog.ParseDetails(earlier.Details).Kind == accesslog.KindUpstream && !later.Start.Before(earlier.Start)
}

// joined are the causes that two lines speak for, given those of the client's alone.
func joined(alike []Candidate, client, server view) []Candidate {
	relation := Relate(client.entry, server.entry)
	if relation == Unrelated {
		return alike
	}
	servers := alone(server)
	if server.carriedRequest() {
		return throughHandshake(alike, servers, client)
	}
	switch {
	case settledBy(alike):
		return alike
	case settledBy(servers) && relation == Same:
		return servers
	}
	both := common(alike, servers)
	switch {
	case len(both) > 1:
		return both
	case len(both) == 0 && relation == Same:
		return append(alike, servers...)
	case len(both) == 0:
		// The server's is about another connection of that time.
		return alike
	case relation == Same || both[0].Certainty == Certain:
		both[0].Certainty, both[0].Needs = Certain, ""
	default:
		both[0].Certainty = Likely
	}
	return both
}

func settledBy(all []Candidate) bool { return len(all) == 1 && all[0].Certainty == Certain }

// common are the causes that both lines speak for, in the words of the server's.
func common(clients, servers []Candidate) []Candidate {
	var out []Candidate
	for _, c := range servers {
		if slices.ContainsFunc(clients, func(other Candidate) bool { return other.Cause == c.Cause && other.Holder == c.Holder }) {
			out = append(out, c)
		}
	}
	return out
}

// throughHandshake is for a request that the server's proxy has read: whatever went
// wrong, mutual TLS did not. What that proxy says of it goes before what the client's
// does, except where all was well to it.
func throughHandshake(clients, servers []Candidate, client view) []Candidate {
	if len(servers) > 0 && servers[0].Cause != NotAFailure && servers[0].Cause != ClientGone {
		return servers
	}
	if slices.ContainsFunc(broken(client), func(c Candidate) bool { return c.Cause == ApplicationReset }) {
		return []Candidate{{Cause: ConnectionLost, Certainty: Likely, Why: "the server's proxy had the request, and its answer did not come back", Needs: "whether the server's proxy ended at this time"}}
	}
	return slices.DeleteFunc(slices.Clone(clients), func(c Candidate) bool { return c.Cause.MutualTLS() })
}
