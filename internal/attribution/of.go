// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution

import (
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// longest is how long a name of a rule may be, and details that are read: names of
// Kubernetes are no longer, and Envoy's details are a few words.
const longest = 1024

// agent are ports of Istio's agent and of the proxy itself, which probes and scrapes go to
// (https://istio.io/latest/docs/ops/deployment/application-requirements/).
var agent = [...]uint16{15020, 15021, 15090}

// blockAll is Istio's name of the routes for calls that are not let out
// (pilot/pkg/networking/util/util.go, BlackHole).
const blockAll = "block_all"

// probe is the name of a gateway's route while it is asked by Trellis itself whether it has
// its rules (package internal/probe): nobody else has a route without a slash by it.
const probe = "probe"

// Of joins an entry.
func (x *Index) Of(e *accesslog.Entry) Attribution {
	r := reading{x: x, e: e, details: accesslog.KindOther}
	text := e.Details
	if text == "" {
		text = e.Termination
	}
	if len(text) <= longest {
		d := accesslog.ParseDetails(text)
		r.details, r.rule = d.Kind, d.Policy
	}
	r.findWriter()
	out := r.decided()
	if out.Outcome == Elsewhere || out.Outcome == Aside {
		return out
	}
	if out.Verdict == "" {
		out.Rule = -1
	}
	r.complete(&out.Key)
	r.tried(&out)
	return out
}

// reading is one entry that is read.
type reading struct {
	x       *Index
	e       *accesslog.Entry
	details accesslog.Kind
	rule    string
	// writer is nil where nobody knows it, or where it is not in doubt that it is another
	// than who has the address.
	writer *workload
	// sent: the proxy of a workload wrote it about what the workload called.
	sent bool
}

// findWriter finds who wrote the entry. The address that a connection was made to is the
// writer's only where it was received: otherwise it is that of who was called.
func (r *reading) findWriter() {
	e := r.e
	at := r.x.at(e.Local.Addr().Unmap())
	r.writer = r.x.pod(e.Writer)
	received := r.received()
	if r.writer == nil && e.Writer.Namespace == "" && at != nil && (received || at.place == hits.Gateway) {
		r.writer = at
	}
	if r.writer != nil && r.writer.place == hits.Gateway {
		return
	}
	// A listener for what its own workload sends has the address of the other end.
	others := r.writer != nil && e.Local.IsValid() && at != r.writer
	r.sent = !received || others && !e.Inbound() && r.details != accesslog.KindRBAC
}

// received reports whether the proxy of who was called wrote the entry: nobody else asks
// policies and looks at tokens.
func (r *reading) received() bool {
	switch r.details {
	case accesslog.KindRBAC, accesslog.KindToken, accesslog.KindAuthorizer:
		return true
	}
	return r.e.Inbound() || signature.SideOf(r.e) == signature.Server
}

// unknown is an Attribution that says why there is no more of it.
func (r *reading) unknown(v hits.Verdict, why Why) Attribution {
	out := Attribution{Key: hits.Key{Rule: -1, Verdict: v}, Outcome: Unknown, Why: why}
	if r.writer != nil {
		out.Key = r.writer.key()
		out.Verdict = v
	}
	return out
}

func (r *reading) decided() Attribution {
	switch {
	case r.aside():
		return Attribution{Outcome: Aside}
	case r.sent && r.writer == nil:
		return r.unplaced()
	case r.sent:
		return r.called()
	}
	switch r.details {
	case accesslog.KindRBAC:
		return r.refused()
	case accesslog.KindToken:
		return r.byAll(hits.Denied, func(w *workload) *whole { return &w.byToken })
	case accesslog.KindAuthorizer:
		return r.byAll(hits.Denied, func(w *workload) *whole { return &w.byAuthorizer })
	case accesslog.KindNoRoute:
		return r.failed(ReasonNoRoute)
	}
	switch ended := r.e.Ending(); {
	case ended == accesslog.Allowed, ended == accesslog.Answered, r.went():
		return r.allowed()
	case r.details == accesslog.KindDirect && r.writer != nil && r.writer.place == hits.Gateway:
		return r.routed(hits.Denied)
	}
	return r.broke()
}

// aside reports whether an entry is about nothing that people asked: about Istio's agent,
// or a probe of Trellis itself.
func (r *reading) aside() bool {
	return slices.Contains(agent[:], r.port()) || r.e.Route == probe && (r.writer == nil || r.writer.place == hits.Gateway)
}

// port is that of the workload which an entry is about.
func (r *reading) port() uint16 {
	if r.sent {
		return 0
	}
	if port := r.e.Local.Port(); port != 0 {
		return port
	}
	if rest, is := strings.CutPrefix(r.e.Cluster, "inbound|"); is && len(rest) < longest {
		digits, _, _ := strings.Cut(rest, "|")
		n, _ := strconv.ParseUint(digits, 10, 16)
		return uint16(n)
	}
	return 0
}

// went reports whether a connection without HTTP was let through: nothing is said against
// it.
func (r *reading) went() bool {
	e := r.e
	return e.Method == "" && e.Code == 0 && len(e.Flags) == 0 && e.Details == "" && e.Termination == "" && e.Cluster != "" && e.TransportFailure == "" && e.DownstreamFailure == ""
}

// refused is for a denial of an AuthorizationPolicy.
func (r *reading) refused() Attribution {
	if r.rule == "" {
		return r.byAll(hits.Denied, func(w *workload) *whole { return &w.byDefault })
	}
	key, why := r.named(r.rule, false, denies, asks)
	if why != "" {
		return r.unknown(hits.Denied, why)
	}
	key.Verdict = hits.Denied
	return Attribution{Key: key, Outcome: Attributed}
}

// named is what is known of a rule by Envoy's name of it.
func (r *reading) named(rule string, tried bool, actions ...action) (hits.Key, Why) {
	if len(rule) > longest {
		return hits.Key{}, RuleUnknown
	}
	at := decide.PolicyOf(rule)
	if at == nil {
		return hits.Key{}, RuleUnknown
	}
	name := model.Name{Namespace: at.Namespace, Name: at.Name}
	key, why := r.ruled(r.x.policies[name], at.Rule, tried, actions)
	for _, p := range r.x.past.policies[name] {
		if p.forgotten {
			return hits.Key{}, RuleUnknown
		}
		was, not := r.ruled(p.what, at.Rule, tried, actions)
		switch {
		case not != "": // it cannot have been that one
		case why != "":
			key, why = was, ""
		case was != key:
			return hits.Key{}, RuleUnknown
		}
	}
	return key, why
}

// ruled is what is known of a rule of an object, if that one decided.
func (r *reading) ruled(o *object, rule int, tried bool, actions []action) (hits.Key, Why) {
	switch {
	case o == nil || rule < 0 || rule >= len(o.rules) || o.rules[rule].Statement == "":
		return hits.Key{}, RuleUnknown
	case o.tried != tried || !slices.Contains(actions, o.action):
		return hits.Key{}, RuleElsewhere
	}
	key := o.rules[rule]
	switch w := r.writer; {
	case w != nil && !o.selects(w.labels):
		return hits.Key{}, RuleElsewhere
	case w != nil:
		key.Place = w.place
		if own := w.key(); key.Application == "" {
			key.Namespace, key.Application = own.Namespace, own.Application
		}
	case len(o.places) == 1:
		key.Place = o.places[0]
	default:
		return hits.Key{}, WriterUnknown
	}
	return key, ""
}

// byAll is for what decided without naming a rule.
func (r *reading) byAll(v hits.Verdict, of func(*workload) *whole) Attribution {
	if r.writer == nil {
		return r.unknown(v, WriterUnknown)
	}
	all := of(r.writer).settled()
	out := Attribution{Key: all.key, Outcome: Attributed, Why: all.why, Among: all.among}
	out.Verdict = v
	if all.why != "" {
		out.Outcome = Unknown
	}
	return out
}

// allowed is for what was let through, or answered as somebody stated.
func (r *reading) allowed() Attribution {
	if r.writer == nil || r.writer.place == hits.Gateway {
		return r.routed(hits.Allowed)
	}
	key := r.writer.key()
	out := Attribution{Key: key, Outcome: Attributed}
	if noted := r.e.RBAC.Enforced; noted.Verdict == accesslog.NotedAllowed && noted.Policy != "" {
		key, why := r.named(noted.Policy, false, allows)
		if out.Why = why; why == "" {
			out.Key = key
		}
	}
	if out.Application == "" && r.writer.several {
		out.Outcome, out.Why = Unknown, SeveralApplications
	}
	out.Verdict = hits.Allowed
	return out
}

// routed is for what a gateway did with a request as its route says.
func (r *reading) routed(v hits.Verdict) Attribution {
	key, ok := r.x.route(r.e.Route, r.e.Authority)
	switch {
	case ok:
		key.Verdict = v
		return Attribution{Key: key, Outcome: Attributed}
	case r.writer == nil:
		return r.unknown(v, WriterUnknown)
	}
	return r.unknown(v, RouteUnknown)
}

// failed is for what went wrong without being refused, or with nobody having stated it.
func (r *reading) failed(reason string) Attribution {
	if r.writer == nil {
		return r.unknown(hits.Failed, WriterUnknown)
	}
	key := r.writer.key()
	key.Reason, key.Verdict = reason, hits.Failed
	return Attribution{Key: key, Outcome: Attributed}
}

// broke finds out why something went wrong.
func (r *reading) broke() Attribution {
	e := r.e
	if e.Details == "" && e.Termination == "" && len(e.Flags) == 0 && e.TransportFailure == "" && e.DownstreamFailure == "" {
		return r.unknown("", EndingUnknown)
	}
	cause := r.cause(signature.Lines{Server: e})
	if r.writer != nil && r.writer.place == hits.Gateway {
		cause = r.cause(signature.Lines{Client: e})
	}
	if cause.MutualTLS() && r.writer != nil && r.writer.place == hits.Workload {
		out := r.byAll(hits.Failed, func(w *workload) *whole { return &w.byMutualTLS })
		// That nobody stated mutual TLS takes nothing from the cause.
		out.Reason, out.Outcome, out.Why = string(cause), Attributed, ""
		return out
	}
	out := r.failed(string(cause))
	if e.Ending() == accesslog.Denied {
		out.Verdict = hits.Denied
	}
	return out
}

// cause is what a line alone is the sign of; Unrecognised where others are as good. Where
// a sidecar wrote it, a handshake that no filter chain takes is about mutual TLS: package
// signature leaves open whether a gateway did.
func (r *reading) cause(l signature.Lines) signature.Cause {
	if len(r.e.TransportFailure)+len(r.e.DownstreamFailure) > 4*longest {
		return signature.Unrecognised
	}
	all := signature.Of(l)
	if all[0].Certainty != signature.Possible {
		return all[0].Cause
	}
	if r.details == accesslog.KindNoFilterChain && r.writer != nil {
		for _, c := range all {
			if c.Cause.MutualTLS() == (r.writer.place == hits.Workload) {
				return c.Cause
			}
		}
	}
	return signature.Unrecognised
}

// called is for what a workload's own proxy says of what it called: all but what came no
// further than that proxy is told by others.
func (r *reading) called() Attribution {
	e := r.e
	if e.Cluster == xds.BlackHole || e.Route == blockAll {
		return r.byAll(hits.Denied, func(w *workload) *whole { return &w.byCalls })
	}
	if len(e.Flags) == 0 && e.TransportFailure == "" {
		return Attribution{Outcome: Elsewhere}
	}
	cause := r.cause(signature.Lines{Client: e})
	if !cause.MutualTLS() || cause == signature.PlaintextToStrict {
		return Attribution{Outcome: Elsewhere}
	}
	return r.failed(string(cause))
}

// unplaced is for what nobody knows the writer of: a route that Trellis made is a
// gateway's, and calls between workloads are told by those that were called.
func (r *reading) unplaced() Attribution {
	if len(r.x.routes[r.e.Route])+len(r.x.past.routes[r.e.Route]) > 0 {
		r.sent = false
		if r.e.Ending() == accesslog.Allowed || r.e.Ending() == accesslog.Answered {
			return r.routed(hits.Allowed)
		}
		if r.details == accesslog.KindDirect {
			return r.routed(hits.Denied)
		}
	}
	return r.unknown("", WriterUnknown)
}

// complete fills in what the entry says beside the decision: the route, and who called.
func (r *reading) complete(key *hits.Key) {
	if key.Place == hits.Gateway && key.Route == "" && (key.Verdict != hits.Failed || key.Reason != ReasonNoRoute) {
		if at, ok := r.x.route(r.e.Route, r.e.Authority); ok && (key.Application == "" || key.Application == at.Application && key.Namespace == at.Namespace) {
			key.Namespace, key.Application, key.Route = at.Namespace, at.Application, at.Route
		}
	}
	r.reduce(key)
	switch {
	case key.Place == hits.Gateway:
		key.Peer = hits.Internet
	case r.sent && r.writer != nil:
		key.Peer = r.writer.account
	case r.sent:
		key.Peer = UnknownPeer
	default:
		key.Peer = r.x.peer(r.e)
	}
}

// tried adds what policies would have done that are only tried.
func (r *reading) tried(out *Attribution) {
	note := r.e.RBAC
	if note.TriedDeny.Verdict == accesslog.NotedDenied {
		key, why := r.named(note.TriedDeny.Policy, true, denies)
		r.wouldDeny(out, key, why)
	}
	if note.TriedAllow.Verdict == accesslog.NotedDenied {
		if r.writer == nil {
			r.wouldDeny(out, hits.Key{}, WriterUnknown)
			return
		}
		all := r.writer.wouldByDefault.settled()
		r.wouldDeny(out, all.key, all.why)
	}
}

func (r *reading) wouldDeny(out *Attribution, key hits.Key, why Why) {
	if why != "" {
		out.WouldUnknown = why
		return
	}
	key.Verdict = hits.WouldDeny
	r.complete(&key)
	out.Would = append(out.Would, key)
}
