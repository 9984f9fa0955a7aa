// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// leaves are the ends that chance chooses between.
func leaves(v *decide.Verdict) []*decide.Verdict {
	if len(v.Branches) == 0 {
		return []*decide.Verdict{v}
	}
	var out []*decide.Verdict
	for i := range v.Branches {
		out = append(out, leaves(&v.Branches[i].Verdict)...)
	}
	return out
}

// unknown is the reason of the first end that is not known.
func unknown(v *decide.Verdict) (string, bool) {
	for _, leaf := range leaves(v) {
		if leaf.Outcome == decide.Unknown {
			return leaf.Why, true
		}
	}
	return "", false
}

// differs says how what was seen is none of the ends of a verdict; empty where it
// is one of them.
func (s *stage) differs(d *dumps, q *ask, v *decide.Verdict, o *seen) string {
	var why []string
	for _, leaf := range leaves(v) {
		one := s.differsFrom(d, q, leaf, o)
		if one == "" {
			return ""
		}
		if !slices.Contains(why, one) {
			why = append(why, one)
		}
	}
	return strings.Join(why, "; or ")
}

func (s *stage) differsFrom(d *dumps, q *ask, v *decide.Verdict, o *seen) string {
	decided := string(v.Outcome)
	if v.Reply != nil {
		decided += fmt.Sprintf(" %d %s", v.Reply.Code, v.Reply.Details)
	}
	switch {
	case v.Outcome == decide.Allow:
		end, ok := s.ends[v.Reached.Address]
		switch {
		case !ok && v.Reached.Host == "" && pastAllProxies(v) && o.reached == "":
			// To where nobody listens.
			return ""
		case !ok && v.Reached.Host == "":
			return fmt.Sprintf("decided that it reaches %v, where nobody is; and it was %s", v.Reached.Address, o)
		case !ok:
			// Whether a name is found is not decided.
			if o.reached != "" || unavailable(o) || q.raw && o.failure != nil {
				return ""
			}
		case end == o.reached, slices.Contains(s.others(d, v), o.reached):
			return ""
		case o.status == 503 && strings.HasSuffix(strings.TrimSuffix(q.host, ":8080"), ".") && throughTLS(v):
			// The proxy asks for the host by SNI, and a name that ends in a dot is none (RFC 6066
			// §3): the application refuses the handshake.
			return ""
		}
		return fmt.Sprintf("decided that it reaches %q (%v); and it was %s", end, v.Reached.Address, o)
	case o.reached != "":
		return fmt.Sprintf("decided %s; and it was %s", decided, o)
	case v.Reply == nil || v.Reply.Code == 0:
		if o.failure != nil {
			return ""
		}
		return fmt.Sprintf("decided %s, without an answer; and it was %s", decided, o)
	case o.failure != nil && q.tls != nil && v.Reply.Details == "http1.codec_error" && strings.Contains(o.failure.Error(), "first record does not look like a TLS handshake"):
		// An answer in plaintext to a handshake.
		return ""
	case o.failure != nil:
		return fmt.Sprintf("decided %s; and it was %s", decided, o)
	}
	return differsFromReply(v, o)
}

// pastAllProxies reports whether no proxy takes the connection: not the one behind it,
// and not the client's own.
func pastAllProxies(v *decide.Verdict) bool {
	steps := v.Steps
	if len(steps) > 0 && strings.HasSuffix(steps[0].Says, "this one goes past it") {
		steps = steps[1:]
	}
	return len(steps) == 1
}

// unavailable reports whether a proxy answered that it could not reach somebody, to a
// client of gRPC in its own words (https://grpc.io/docs/guides/status-codes/).
func unavailable(o *seen) bool { return o.status == 503 || o.header.Get("Grpc-Status") == "14" }

// throughTLS reports whether the application behind the last proxy is talked to by TLS.
func throughTLS(v *decide.Verdict) bool {
	last := slices.IndexFunc(v.Steps, func(s decide.Step) bool { return s.Stage == decide.StageApplication }) - 1
	return last >= 0 && strings.HasSuffix(v.Steps[last].Says, " by TLS")
}

// others are the ends beside the one that a verdict names: those that the same
// cluster of the proxy before has, which decide counts as one.
func (s *stage) others(d *dumps, v *decide.Verdict) []string {
	var proxy, cluster string
	for _, step := range v.Steps {
		if step.Stage == decide.StageCluster && strings.HasPrefix(step.Rule, "outbound") {
			proxy, cluster = step.Proxy, step.Rule
		}
	}
	var out []string
	for _, c := range d.configs {
		if c.Node().String() != proxy {
			continue
		}
		assignment, _ := c.Endpoints(cluster)
		for _, group := range assignment.GetEndpoints() {
			for _, e := range group.GetLbEndpoints() {
				if at, ok := xds.AddrPort(e.GetEndpoint().GetAddress()); ok {
					out = append(out, s.ends[at])
				}
			}
		}
	}
	return out
}

func differsFromReply(v *decide.Verdict, o *seen) string {
	if grpc := o.header.Get("Grpc-Status"); grpc != "" && o.status == 200 {
		if want := fmt.Sprint(v.Reply.GRPCStatus()); grpc != want {
			return fmt.Sprintf("decided %s %d, which is grpc-status %s; and it was %s", v.Outcome, v.Reply.Code, want, grpc)
		}
		return ""
	}
	if v.Reply.Code != o.status {
		return fmt.Sprintf("decided %s %d %s; and it was %s", v.Outcome, v.Reply.Code, v.Reply.Details, o)
	}
	location, _ := v.Reply.Headers.Get("location")
	if got := o.header.Get("Location"); got != location {
		return fmt.Sprintf("decided on the location %q; and it was %q", location, got)
	}
	return ""
}

// tellsOtherwise compares the reason that a proxy logged; "" where it is one of
// the ends', or was not logged.
func tellsOtherwise(q *ask, v *decide.Verdict, logged func(proxy string) []line) string {
	var why []string
	for _, leaf := range leaves(v) {
		if leaf.Outcome == decide.Allow || leaf.Reply == nil || leaf.Reply.Code == 0 || len(leaf.Steps) == 0 {
			return ""
		}
		proxy := leaf.Steps[len(leaf.Steps)-1].Proxy
		var lines []line
		for _, name := range siblings(proxy[strings.LastIndexByte(proxy, '/')+1:]) {
			for _, l := range logged(name) {
				// The client's proxy, which may be the server's, too, logs what came back.
				if name != q.through || l.details != "via_upstream" {
					lines = append(lines, l)
				}
			}
		}
		if len(lines) == 0 || proxy == "" {
			return ""
		}
		for _, l := range lines {
			if sameDetails(leaf.Reply.Details, l.details) {
				return ""
			}
		}
		why = append(why, fmt.Sprintf("decided that %s says %q; and it was %v", proxy, leaf.Reply.Details, lines))
	}
	return strings.Join(why, "; or ")
}

// siblings are the workloads behind the same Service: which one a request comes to
// is chance.
func siblings(name string) []string {
	if strings.HasPrefix(name, "cart-") {
		return []string{"cart-1", "cart-2"}
	}
	return []string{name}
}

// sameDetails compares up to what Envoy adds in braces, which is of the moment.
func sameDetails(decided, logged string) bool {
	cut := func(s string) string {
		s, _, _ = strings.Cut(s, "{")
		return s
	}
	if strings.HasPrefix(decided, "rbac_access_denied") || strings.HasPrefix(decided, "jwt_authn") {
		return strings.ReplaceAll(decided, " ", "_") == logged
	}
	return cut(strings.ReplaceAll(decided, " ", "_")) == cut(logged)
}

var moment = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)

// kind of a reason: without what differs from one request to the next.
func kind(why string) string { return moment.ReplaceAllString(why, "N") }
