// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Application is an Application of which policies are asked.
type Application struct {
	set    *Set
	origin model.Origin
	object *v1alpha1.Application
	// bound are the bindings about it.
	bound []*Binding
	facts map[string]expression.Value
	spec  map[string]any
}

// Application returns one as policies see it, or nil where none is about it.
func (s *Set) Application(app *v1alpha1.Application, origin model.Origin) *Application {
	a := &Application{set: s, origin: origin, object: app}
	of := a.subject(v1alpha1.SubjectApplication, origin)
	for _, b := range s.bindingsOf(app.Namespace) {
		if b.selects(of) && b.aboutApplications() {
			a.bound = append(a.bound, b)
			if b.Broken == "" {
				b.record(origin.Object, Pass)
			}
		}
	}
	if len(a.bound) == 0 {
		return nil
	}
	return a
}

// aboutApplications reports whether any rule of the binding is about Applications, or may
// be: of a template that does not exist that cannot be told.
func (b *Binding) aboutApplications() bool { return b.compiled == nil || b.compiled.aboutApplications }

func (b *Binding) aboutIngresses() bool { return b.compiled == nil || b.compiled.aboutIngresses }

func (a *Application) subject(sort v1alpha1.PolicySubject, origin model.Origin) Subject {
	return Subject{Sort: sort, Origin: origin, Namespace: a.object.Namespace, Application: a.object.Name, Labels: a.object.Labels}
}

// Broken are the bindings about it that cannot be applied.
func (a *Application) Broken() []Judgement {
	var out []Judgement
	for _, b := range a.bound {
		if b.Broken != "" {
			j := Judgement{Binding: b, Subject: a.subject(v1alpha1.SubjectApplication, a.origin), Outcome: Unknown}
			j.Message = "what this policy asks for cannot be told: " + b.Broken
			j = a.set.exempt(j)
			b.record(a.origin.Object, j.Outcome)
			out = append(out, j)
		}
	}
	return out
}

// asks reports whether any binding about it has constraints on a sort of subjects.
func (a *Application) asks(sort v1alpha1.PolicySubject) bool {
	for _, b := range a.bound {
		if b.Broken == "" && len(b.compiled.constraints[sort]) > 0 {
			return true
		}
	}
	return false
}

// variables are what all expressions about it may read. They are made when they are first
// asked for.
func (a *Application) variables() map[string]expression.Value {
	if a.facts != nil {
		return a.facts
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&a.object.Spec)
	if err != nil {
		// Values of our own types can always be converted; without one every expression
		// that reads it gives an error, which is not let go.
		spec = map[string]any{}
	}
	a.spec = spec
	a.facts = map[string]expression.Value{
		"namespaceObject": a.set.namespaceValue(a.object.Namespace),
		"application":     expression.Object(expression.SortApplication, a.object.Name, a.object.Labels, a.object.Annotations, spec),
	}
	return a.facts
}

func (a *Application) with(more map[string]expression.Value) expression.Facts {
	out := maps.Clone(a.variables())
	maps.Copy(out, more)
	return expression.NewFacts(out)
}

// part is item i of a list of its spec.
func (a *Application) part(i int, path ...string) map[string]any {
	a.variables()
	var at any = a.spec
	for _, name := range path {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	if list, _ := at.([]any); i < len(list) {
		m, _ := list[i].(map[string]any)
		return m
	}
	return nil
}

// Judge asks of the Application itself.
func (a *Application) Judge() []Judgement {
	if !a.asks(v1alpha1.SubjectApplication) {
		return nil
	}
	return a.set.judge(a.subject(v1alpha1.SubjectApplication, a.origin), expression.NewFacts(a.variables()))
}

// Route is what is to be known of a route beside what was stated.
type Route struct {
	// Index in spec.routes.
	Index  int
	Name   string
	Origin model.Origin
	// Mode is the one that holds, after contributions.
	Mode v1alpha1.AuthenticationMode
	// Hosts at which it is published, in order.
	Hosts []string
}

func (a *Application) routeFacts(r Route) expression.Facts {
	return a.with(map[string]expression.Value{
		"route":          expression.Part(expression.SortRoute, a.part(r.Index, "routes")),
		"authentication": expression.Text(string(r.Mode)),
		"hosts":          expression.Texts(r.Hosts),
	})
}

// JudgeRoute asks of one of its routes.
func (a *Application) JudgeRoute(r Route) []Judgement {
	if !a.asks(v1alpha1.SubjectRoute) {
		return nil
	}
	of := a.subject(v1alpha1.SubjectRoute, r.Origin)
	of.Route = r.Name
	return a.set.judge(of, a.routeFacts(r))
}

// JudgeExposure asks of one of its exposures. The ingress is the zero name where it could
// not be told.
func (a *Application) JudgeExposure(i int, origin model.Origin, hosts []string, ingress model.Name) []Judgement {
	if !a.asks(v1alpha1.SubjectExposure) {
		return nil
	}
	return a.set.judge(a.subject(v1alpha1.SubjectExposure, origin), a.with(map[string]expression.Value{
		"exposure": expression.Part(expression.SortExposure, a.part(i, "exposures")),
		"hosts":    expression.Texts(hosts),
		"ingress":  expression.Ingress(ingress.Namespace, ingress.Name),
	}))
}

// JudgeCaller asks of one of its callers, which are in a namespace; empty for everybody.
func (a *Application) JudgeCaller(i int, origin model.Origin, namespace string) []Judgement {
	if !a.asks(v1alpha1.SubjectCaller) {
		return nil
	}
	return a.set.judge(a.subject(v1alpha1.SubjectCaller, origin), a.with(map[string]expression.Value{
		"caller":          expression.Part(expression.SortCaller, a.part(i, "access", "callers")),
		"callerNamespace": a.set.namespaceValue(namespace),
	}))
}

// JudgeCall asks of one of its calls, of what is in a namespace; empty for what is outside
// of the mesh.
func (a *Application) JudgeCall(i int, origin model.Origin, namespace string) []Judgement {
	if !a.asks(v1alpha1.SubjectCall) {
		return nil
	}
	return a.set.judge(a.subject(v1alpha1.SubjectCall, origin), a.with(map[string]expression.Value{
		"call":            expression.Part(expression.SortCall, a.part(i, "access", "calls")),
		"calleeNamespace": a.set.namespaceValue(namespace),
	}))
}
