// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package tell

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Told is an Answer in people's words.
type Told struct {
	// Why is one sentence without a period.
	Why string
	// Do says what to do about it; empty where nothing needs doing.
	Do string
	// Decided is the statement behind the step at which the request ended, or that
	// let it through; nil where it ended at no statement.
	Decided *ask.Origin
	// Change are the places where another outcome would be stated, the most likely
	// one first.
	Change []Place
}

// Place is where something can be changed, and by whom.
type Place struct {
	ask.Origin
	// Whom says whose it is, by the layer; who may edit the object in a cluster is
	// not known here.
	Whom string
}

// PlaceOf is the place of a statement.
func PlaceOf(o ask.Origin) Place {
	out := Place{Origin: o, Whom: "whoever keeps " + o.Object}
	switch o.Layer {
	case model.LayerApplication:
		out.Whom = "the developers of " + o.Object
	case model.LayerPlatform:
		out.Whom = "the platform's operators, who keep " + o.Object
	case model.LayerNamespace:
		out.Whom = "whoever keeps the policies of the namespace, with " + o.Object
	case model.LayerDefault, model.LayerMandatory:
		out.Whom = "the security officers, who keep " + o.Object
	}
	return out
}

// Tell puts an answer into words.
func Tell(w *ask.World, r *ask.Request, a *ask.Answer) Told {
	out := Told{Decided: decided(w, a)}
	switch a.Outcome {
	case decide.Allow:
		out.Why = "it reaches " + reachedName(a.Reached)
		if a.Reached != nil && a.Reached.Address.Addr() == ask.Elsewhere {
			out.Why = "it leaves the mesh: nothing in it knows " + r.URL.Hostname()
		}
	case decide.Answered:
		out.Why = "a proxy answers in the application's place"
		if a.Reply != nil {
			if to, ok := a.Reply.Headers.Get("location"); ok {
				out.Why = "a proxy redirects it to " + to
			}
		}
	case decide.NoRoute:
		out.Why, out.Do = "nothing is published at "+r.URL.Host+r.URL.Path, "publish it with an exposure of an Application, or correct the URL"
	case decide.Fails:
		out.Why, out.Do = failed(r, a, out.Decided)
	case decide.Unknown:
		out.Why, out.Do = a.Why, "this cannot be told from what was given; nothing is guessed"
	case decide.Deny:
		out.Why, out.Do = denied(r, a, out.Decided)
	}
	if out.Decided != nil {
		out.Change = append(out.Change, PlaceOf(*out.Decided))
	} else if a.Outcome == decide.Deny {
		out.Change = candidates(w, r, a)
	} else if a.Outcome == decide.Allow {
		out.Decided = passedBy(w, a)
	}
	return out
}

// refusal is what refused a request. Where a server's proxy refuses a connection, the
// client's only says that it broke, and the last step tells why.
func refusal(a *ask.Answer) accesslog.Details {
	details := a.Reply.Details
	if last := len(a.Steps) - 1; last >= 0 && strings.HasPrefix(details, "upstream_reset_before_response_started") {
		if step := a.Steps[last]; step.Stops && step.Stage == decide.StageFilter {
			details = "rbac_access_denied_matched_policy[" + cmp.Or(step.Rule, "none") + "]"
		}
	}
	return accesslog.ParseDetails(details)
}

// keptIn is for what the client's own proxy does not let out, which somebody states, or else
// the mesh as a whole.
func keptIn(r *ask.Request, by *ask.Origin) (why, do string) {
	switch {
	case by == nil:
		return fmt.Sprintf("the client's own proxy lets it reach only what the mesh knows (REGISTRY_ONLY), and that is not %s", r.URL.Host),
			"add a ServiceEntry for the host, or correct the URL"
	case by.Layer == model.LayerApplication:
		return fmt.Sprintf("%s: the client's own proxy lets out only the calls that are stated there, and %s is none of them", by.Object, r.URL.Host),
			"state the call in spec.access.calls, or correct the URL"
	}
	return fmt.Sprintf("%s: the client's own proxy lets out only calls in the mesh and to hosts that are listed there, and %s is none of them", by.Object, r.URL.Host),
		"ask the policy's owner to list the host"
}

func failed(r *ask.Request, a *ask.Answer, by *ask.Origin) (why, do string) {
	if last := len(a.Steps) - 1; last >= 0 && r.From != nil && decide.KeptIn(a.Steps[last].Rule) {
		return keptIn(r, by)
	}
	switch {
	case r.From == nil && a.Reply == nil && a.Entrance != nil && a.Reached == nil && len(a.Steps) <= 1:
		return "nothing is published there: " + cmp.Or(a.Why, "the gateway does not take the connection"), "publish the host with an exposure of an Application, or correct the URL"
	case a.Reply == nil || a.Reply.Details != "filter_chain_not_found":
		return cmp.Or(a.Why, "it cannot be delivered"), ""
	case r.From == nil:
		return "no gateway serves " + r.URL.Host, "publish the host with an exposure of an Application, or correct the URL"
	}
	return lastProxy(a) + " takes no such connection: " + a.Why, "where mutual TLS is demanded, call from a workload with a proxy"
}

// decided is the statement that an answer hangs on.
func decided(w *ask.World, a *ask.Answer) *ask.Origin {
	if len(a.Steps) == 0 {
		return nil
	}
	if last := a.Steps[len(a.Steps)-1]; last.Stops {
		return w.Origins.Of(last)
	}
	if a.Outcome == decide.Allow && len(a.Because) > 0 {
		return &a.Because[0]
	}
	return nil
}

func reachedName(d *decide.Destination) string {
	switch {
	case d == nil:
		return "its destination"
	case d.Workload != nil:
		return "the workload " + d.Workload.Namespace + "/" + d.Workload.Name
	case d.Host != "":
		return d.Host + ", which is outside of the mesh"
	}
	return d.Address.String() + ", which has no proxy"
}

// because are the sentences for the reasons of generated rules, and what to do.
var because = map[compile.Reason][2]string{
	provenance.ReasonNoToken:  {"a token is needed there, and the request has none that was accepted", "send a token of the ingress's identity provider"},
	provenance.ReasonIssuer:   {"its token is of an issuer that is not accepted there", "send a token of an identity provider that the SecureIngress names"},
	provenance.ReasonAudience: {"its token is meant for somebody else: it has none of the audiences that are asked for", "ask the identity provider for a token with the right audience"},
	provenance.ReasonScope:    {"its token lacks a scope that is asked for", "ask the identity provider for a token with that scope"},
	provenance.ReasonClaim:    {"its token lacks a claim that is asked for", "ask the identity provider who has that claim"},
	provenance.ReasonMethod:   {"the route of this path does not serve the method", "use another method, or add it to the route's methods"},
	provenance.ReasonCaller:   {"the sender is none of the callers that may call it there", "add the sender to the callers"},
	provenance.ReasonPolicy:   {"a policy forbids it", "ask the policy's owner"},
	provenance.ReasonPath:     {"the path is written in a way that a gateway and an application may read differently", "write the path without encoded slashes, double slashes, dot segments and semicolons"},
	provenance.ReasonPlain:    {"plain HTTP is not served there", "use https"},
}

// Because says in words why a rule of a reason refuses, and what to do about it;
// empty for a reason that refuses nothing.
func Because(r compile.Reason) (why, do string) { return because[r][0], because[r][1] }

func denied(r *ask.Request, a *ask.Answer, by *ask.Origin) (why, do string) {
	if by != nil {
		if by.Reason == provenance.ReasonCall {
			return keptIn(r, by)
		}
		if words, ok := because[by.Reason]; ok {
			return by.Object + ": " + words[0], words[1]
		}
	}
	if a.Reply == nil {
		return "a proxy refuses it", ""
	}
	details := refusal(a)
	switch {
	case details.Kind == accesslog.KindRBAC && details.Policy == "":
		return fmt.Sprintf("it is stated who may pass %s, and no rule fits %s", lastProxy(a), sent(r)),
			"correct the request, or state it in one of the places below"
	case details.Kind == accesslog.KindRBAC:
		if object := decide.PolicyOf(details.Policy); object != nil {
			return fmt.Sprintf("%s refuses it, which Trellis did not make", object), "ask whoever keeps it"
		}
	case details.Kind == accesslog.KindDirect && a.Reply.Code == 502 && r.From != nil && len(a.Because) == 0:
		return keptIn(r, nil)
	case details.Kind == accesslog.KindToken:
		return details.Means, "get another token from the identity provider"
	case details.Means != "":
		return details.Means, ""
	}
	return fmt.Sprintf("a proxy answers with %d (%s)", a.Reply.Code, cmp.Or(a.Reply.Details, "without details")), ""
}

// sent is a request or a connection, and who sends it.
func sent(r *ask.Request) string {
	sender := "the internet"
	if r.From != nil {
		sender = r.From.String()
	}
	what := "a connection"
	if r.URL.Scheme != "tcp" {
		what = cmp.Or(r.Method, "GET") + " " + cmp.Or(r.URL.Path, "/")
	}
	return what + " from " + sender
}

func lastProxy(a *ask.Answer) string {
	for i := len(a.Steps) - 1; i >= 0; i-- {
		if a.Steps[i].Proxy != "" {
			return "the " + a.Steps[i].Proxy
		}
	}
	return "there"
}

// maxPlaces bounds how many candidates are named: a shared gateway has rules of
// hundreds of Applications.
const maxPlaces = 5

// passedBy is the rule that somebody wrote by hand and that let a request pass.
func passedBy(w *ask.World, a *ask.Answer) *ask.Origin {
	for _, step := range slices.Backward(a.Steps) {
		if origin := w.Origins.Behind(step); origin != nil && step.Rule != "" {
			return origin
		}
	}
	return nil
}

// candidates are the places of rules that allow, on the proxy that refused: each
// is one in which another outcome could be stated. Those of the request's host come
// first.
func candidates(w *ask.World, r *ask.Request, a *ask.Answer) []Place {
	proxy := strings.TrimPrefix(lastProxy(a), "the ")
	at := slices.IndexFunc(w.Nodes, func(n xds.Node) bool { return n.String() == proxy })
	if at < 0 || a.Reply == nil || refusal(a).Kind != accesslog.KindRBAC {
		return nil
	}
	// A rule that refuses is the only place: no other one makes up for it.
	if policy := refusal(a).Policy; policy != "" {
		if origin := originOf(w, policy); origin != nil {
			return []Place{PlaceOf(*origin)}
		}
	}
	config, err := w.Proxies.Config(w.Nodes[at])
	if err != nil {
		return nil
	}
	var first, rest []Place
	seen := map[string]bool{}
	for _, rule := range rulesOf(config) {
		if rule.route || rule.action != rbacv3.RBAC_ALLOW {
			continue
		}
		origin := originOf(w, rule.name)
		if origin == nil {
			continue
		}
		// One place for a list is enough: its items are beside each other.
		list, _, _ := strings.Cut(origin.Field, "[")
		if seen[origin.Object+" "+list] {
			continue
		}
		seen[origin.Object+" "+list] = true
		*origin = w.Origins.Locate(ask.Origin{Object: origin.Object, Field: list, Layer: origin.Layer, Source: origin.Source})
		if strings.Contains(rule.name, r.URL.Hostname()) {
			first = append(first, PlaceOf(*origin))
		} else {
			rest = append(rest, PlaceOf(*origin))
		}
	}
	all := append(first, rest...)
	return all[:min(len(all), maxPlaces)]
}

// originOf is the statement behind a rule of Envoy; of a rule that Trellis did not
// make, the AuthorizationPolicy itself. Nil: it is no policy of Istio's.
func originOf(w *ask.World, rule string) *ask.Origin {
	object := decide.PolicyOf(rule)
	if object == nil {
		return nil
	}
	if origin := w.Origins.Of(decide.Step{Object: object, Rule: rule}); origin != nil {
		return origin
	}
	out := w.Origins.Locate(ask.Origin{Object: fmt.Sprintf("AuthorizationPolicy %s/%s", object.Namespace, object.Name), Field: fmt.Sprintf("spec.rules[%d]", object.Rule)})
	return &out
}
