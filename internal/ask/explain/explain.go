// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Explanation is what is known of a Thing, upwards to the statements that people
// wrote and downwards to the rules of proxies.
type Explanation struct {
	// Of says what the thing was taken for.
	Of string
	// Means says what it means, as far as the thing itself says it.
	Means string
	// Request and Answer are there where the thing names a request: what would
	// become of it now.
	Request *ask.Request
	Answer  *ask.Answer
	// Told is Answer in words.
	Told tell.Told
	// Rules are the rules of Istio objects that it leads to.
	Rules []ask.Made
	// Held are the proxies that have those rules, Unread those that could not be
	// looked at.
	Held   []tell.Held
	Unread []string
	// Variants are requests that differ from the refused one in one thing, and
	// pass.
	Variants []string
	// Change are the places where it can be changed, and by whom.
	Change []tell.Place
	// Notes are what is to be known besides.
	Notes []string
}

// world has what is explained.
type world struct{ *ask.World }

// Explain says what a thing is. An error is about the thing: it cannot be found, or
// the request cannot be asked about. From is who sends a request; nil: the internet.
func Explain(in *ask.World, t *Thing, from *ask.WorkloadRef) (*Explanation, error) {
	w := world{in}
	switch {
	case t.URL != nil:
		return w.explainRequest(&ask.Request{URL: t.URL, Method: t.Method, From: from})
	case t.Entry != nil:
		return w.explainEntry(t.Entry, from)
	case t.Details != "":
		return w.explainDetails(t.Details), nil
	case t.Route != nil:
		return w.explainRoute(t.Route)
	case t.Object != nil:
		return w.explainObject(t.Object)
	}
	return nil, fmt.Errorf("there is nothing to explain")
}

func (w world) explainRequest(r *ask.Request) (*Explanation, error) {
	answer, err := w.Can(r)
	if err != nil {
		return nil, err
	}
	out := &Explanation{Of: "a request", Request: r, Answer: answer, Told: tell.Tell(w.World, r, answer)}
	out.Change = out.Told.Change
	for _, step := range answer.Steps {
		if step.Object == nil {
			continue
		}
		made := ask.Made{Object: *step.Object, Origin: w.Origins.Of(step)}
		if at, ok := w.Origins.RouteOf(step); ok {
			made.Object.Rule = at
		}
		if !slices.ContainsFunc(out.Rules, func(m ask.Made) bool { return m.Object == made.Object }) {
			out.Rules = append(out.Rules, made)
		}
	}
	slices.Reverse(out.Rules)
	if answer.Outcome == decide.Deny {
		out.Variants = w.variants(r)
	}
	w.down(out)
	return out, nil
}

func (w world) explainDetails(details string) *Explanation {
	d := accesslog.ParseDetails(details)
	out := &Explanation{Of: "details of Envoy's response", Means: cmp.Or(d.Means, "these details are not known here")}
	switch {
	case d.Kind == accesslog.KindRBAC && d.Policy == "":
		out.Notes = append(out.Notes, "which rule came nearest depends on the request: explain its URL or the line of the access log")
	case d.Kind == accesslog.KindRBAC:
		object := decide.PolicyOf(d.Policy)
		if object == nil {
			out.Notes = append(out.Notes, fmt.Sprintf("%q is no rule of an AuthorizationPolicy of Istio's", d.Policy))
			break
		}
		w.addRule(out, *object)
	}
	w.down(out)
	return out
}

// addRule adds a rule with its statement, which is the place to change it.
func (w world) addRule(out *Explanation, object decide.Object) {
	origin := w.Origins.Of(decide.Step{Object: &object, Rule: ask.PolicyName(object)})
	out.Rules = append(out.Rules, ask.Made{Object: object, Origin: origin})
	if origin == nil {
		note := " says nothing of where it came from: Trellis did not make it, or it is not among what was read"
		if origin = w.Origins.Behind(decide.Step{Object: &object}); origin != nil {
			note = " was written by hand: Trellis did not make it"
		} else {
			origin = &ask.Origin{Object: fmt.Sprintf("%s %s/%s", object.Kind, object.Namespace, object.Name)}
		}
		out.Notes = append(out.Notes, origin.Object+note)
	}
	place := tell.PlaceOf(*origin)
	if !slices.Contains(out.Change, place) {
		out.Change = append(out.Change, place)
	}
	if why, do := tell.Because(origin.Reason); why != "" && out.Told.Do == "" {
		out.Told = tell.Told{Why: origin.Object + ": " + why, Do: do, Decided: origin}
	}
}

// explainEntry explains how a logged request ended, and what would become of it
// now.
func (w world) explainEntry(e *accesslog.Entry, from *ask.WorkloadRef) (*Explanation, error) {
	out := w.explainDetails(cmp.Or(e.Details, e.Termination))
	out.Of = "a line of an access log"
	if e.Details == "" && e.Termination == "" {
		out.Means = "the line gives no details of the response"
	}
	if e.TransportFailure != "" {
		out.Notes = append(out.Notes, "TLS towards upstream failed: "+e.TransportFailure)
	}
	r, why := replay.RequestOf(w.World, e, from)
	if r == nil {
		out.Notes = append(out.Notes, why)
		return out, nil
	}
	now, err := w.explainRequest(r)
	if err != nil {
		out.Notes = append(out.Notes, "the request of the line cannot be decided: "+err.Error())
		return out, nil
	}
	out.Request, out.Answer, out.Variants = r, now.Answer, now.Variants
	if logged := e.Ending(); logged != "" && string(logged) != string(now.Answer.Outcome) {
		out.Notes = append(out.Notes, fmt.Sprintf("it was %s when it was logged, and is %s by what was read now; a line does not say whether there was a token", logged, now.Answer.Outcome))
	}
	if len(out.Change) == 0 || now.Answer.Outcome == decide.Deny && len(out.Rules) == 0 {
		out.Told, out.Change, out.Rules, out.Held = now.Told, now.Change, now.Rules, now.Held
	}
	return out, nil
}

// explainRoute explains a route of an Application.
func (w world) explainRoute(parts []string) (*Explanation, error) {
	out, err := w.explainObject(&decide.Object{Kind: "Application", Namespace: parts[0], Name: parts[1], Rule: -1})
	if err != nil {
		return nil, err
	}
	for _, a := range w.Applications {
		if a.Namespace != parts[0] || a.Name != parts[1] {
			continue
		}
		at := slices.IndexFunc(a.Spec.Routes, func(r v1alpha1.Route) bool { return string(r.Name) == parts[2] })
		if at < 0 {
			var names []string
			for _, r := range a.Spec.Routes {
				names = append(names, string(r.Name))
			}
			return nil, fmt.Errorf("the Application %s/%s has no route %s; it has %s", parts[0], parts[1], parts[2], strings.Join(names, ", "))
		}
		out.Of = "a route of an Application"
		field := fmt.Sprintf("spec.routes[%d]", at)
		out.Change = []tell.Place{tell.PlaceOf(w.Origins.Locate(ask.Origin{Object: fmt.Sprintf("Application %s/%s", parts[0], parts[1]), Field: field, Layer: "Application"}))}
		keep := func(m ask.Made) bool {
			if m.Origin == nil {
				return false
			}
			exposed := m.Object.Kind == "VirtualService" && w.Origins.RouteNamed(m.Object) == strings.Join(parts, "/")
			return exposed || m.Origin.Field == field || strings.HasPrefix(m.Origin.Field, field+".")
		}
		out.Rules = slices.DeleteFunc(out.Rules, func(m ask.Made) bool { return !keep(m) })
		out.Held = nil
		w.down(out)
		return out, nil
	}
	return nil, fmt.Errorf("there is no Application %s/%s among what was read", parts[0], parts[1])
}

// explainObject explains a generated object, or one of Trellis's: what it became.
func (w world) explainObject(o *decide.Object) (*Explanation, error) {
	out := &Explanation{Of: "an object"}
	if count, ok := w.Origins.Count(o.Kind, o.Namespace, o.Name); ok {
		out.Of = "a generated object"
		if o.Rule >= count {
			return nil, fmt.Errorf("%s %s/%s has %d rules, counted from 0, and no rule %d", o.Kind, o.Namespace, o.Name, count, o.Rule)
		}
		for i := range count {
			if o.Rule < 0 || o.Rule == i {
				w.addRule(out, decide.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Rule: i})
			}
		}
		if len(out.Rules) > 1 {
			out.Told = tell.Told{}
		}
		w.down(out)
		return out, nil
	}
	name := model.Reference{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}.String()
	out.Rules = w.Origins.MadeFrom(name)
	switch o.Kind {
	case "Goal":
		if out.Rules = w.Origins.MadeFor(o.Name); len(out.Rules) == 0 {
			return nil, fmt.Errorf("nothing that was read was made for a Goal %s: there is none, or no policy that serves it made anything; trellis tree shows all goals and what serves them", o.Name)
		}
		out.Of = "a goal"
		for _, made := range out.Rules {
			place := tell.PlaceOf(w.Origins.Locate(ask.Origin{Object: made.Origin.Object, Layer: made.Origin.Layer}))
			if !slices.Contains(out.Change, place) {
				out.Change = append(out.Change, place)
			}
		}
	case "Application", "SecureIngress", "ClusterPolicyBinding", "PolicyBinding":
		if len(out.Rules) == 0 {
			return nil, fmt.Errorf("there is no %s among what was read, or nothing was made from it", name)
		}
		out.Of = "a statement"
		out.Change = []tell.Place{tell.PlaceOf(w.Origins.Locate(ask.Origin{Object: name, Layer: out.Rules[0].Origin.Layer}))}
	case "AuthorizationPolicy":
		w.addRule(out, decide.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Rule: max(o.Rule, 0)})
	default:
		return nil, fmt.Errorf("%s says nothing of where it came from: Trellis did not make it, or it is not among what was read", name)
	}
	w.down(out)
	return out, nil
}

// down finds the proxies that have the rules.
func (w world) down(out *Explanation) {
	names := map[string]bool{}
	for _, m := range out.Rules {
		switch {
		case m.Object.Kind == "AuthorizationPolicy":
			names[ask.PolicyName(m.Object)] = true
		case m.Object.Kind == "VirtualService" && m.Object.Rule >= 0:
			names[w.Origins.RouteNamed(m.Object)] = true
		}
	}
	delete(names, "")
	if len(names) > 0 {
		out.Held, out.Unread = tell.Holders(w.World, names)
	}
}
