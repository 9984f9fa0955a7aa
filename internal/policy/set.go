// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy knows what security and compliance state: which bindings are about
// what, what their templates say of it, and which exceptions let something go. It is the
// one evaluator of policies: admission, the operator, the CLI and reports ask the same
// Set. It is pure. What cannot be evaluated is Unknown and never let go.
package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/access"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

// Set are the policies of a Snapshot. It is for one goroutine while it is asked.
type Set struct {
	snapshot *model.Snapshot
	// Bindings are those of the cluster in order, and then those of namespaces.
	Bindings   []*Binding
	Exceptions []*Exception
	// Findings are about goals, templates, bindings and exceptions themselves.
	Findings []model.Finding

	goals      map[string]*v1alpha1.Goal
	templates  map[string]*compiledTemplate
	exceptions map[bindingName][]*Exception
	// about are the bindings of each namespace.
	about      map[string][]*Binding
	namespaces map[string]expression.Value
	// callers are those among whom policies choose.
	callers *access.Callers
	budgets map[string]*expression.Budget
	// dear are the namespaces whose PolicyBindings cost too much.
	dear map[string]bool
}

// budgetOfNamespace is what expressions of all PolicyBindings of a namespace may cost, beside
// those about callers. Who makes these has a namespace, and shares the operator with all
// others.
const budgetOfNamespace = 50 * expression.CostLimit

// ofNamespace is whose a budget is.
func ofNamespace(name string) string { return "all PolicyBindings of namespace " + name }

// bindingName is a binding as an exception names it. Namespace is empty for one of the
// cluster.
type bindingName struct{ namespace, name string }

// Binding is a policy that is bound.
type Binding struct {
	Ref    model.Reference
	Origin model.Origin
	Spec   *v1alpha1.PolicyBindingSpec
	// Mandatory goes before what Applications state, also where it is one of a namespace,
	// which stands below those of the cluster. What is not Mandatory holds where they
	// state nothing.
	Mandatory bool
	// Template is nil where it does not exist.
	Template *v1alpha1.PolicyTemplate
	// Broken says why it cannot be applied; empty where it can.
	Broken string
	// Goals are those that exist of the ones that it names.
	Goals []*v1alpha1.Goal
	// Rollout is how far its version has come; nil where it holds everywhere at once.
	Rollout *rollout.Position

	// part is which one it is of those of a rollout, and parts are all, in a fixed order.
	// A binding without a rollout is the only part of itself.
	part  part
	parts []*Binding
	// stages choose the namespaces of each stage but the last one.
	stages []labels.Selector

	// asked are the objects that it is about, each with the worst that was found.
	asked map[model.Reference]Outcome
	// contributions are those of its template as they were evaluated, nil until one is.
	contributions []*Contribution
	// answers are whom its expressions about callers mean, nil until one is asked.
	answers map[*expression.Program]*access.Answer

	// budget is that of all PolicyBindings of its namespace; nil for one of the cluster.
	budget *expression.Budget

	compiled *compiledTemplate
	// values are those of its parameters, and params the same for expressions.
	values map[string]any
	params expression.Value
	// mistakes are those that were found, so that each is looked into once.
	mistakes     map[string]mistake
	namespace    string
	namespaces   labels.Selector
	applications labels.Selector
}

// Compile makes the policies of a Snapshot ready to be asked. It never fails: what is
// wrong is broken, and a finding says so.
func Compile(s *model.Snapshot) *Set { return compile(s, map[string]bool{}) }

// Overspent reports whether PolicyBindings of some namespace have cost too much since the
// Set was made. Those that were asked last were not asked any more, and which these are hangs
// on names. So whoever needs all that was asked to be answered by one rule asks all of it
// again, of the Set that Again returns.
func (s *Set) Overspent() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(s.budgets)), (*expression.Budget).Over)
}

// Again is the Set in which PolicyBindings of namespaces that have cost too much cannot be
// applied: all of them, and those of nobody else.
func (s *Set) Again() *Set {
	dear := maps.Clone(s.dear)
	for namespace, b := range s.budgets {
		if b.Over() {
			dear[namespace] = true
		}
	}
	return compile(s.snapshot, dear)
}

func compile(s *model.Snapshot, dear map[string]bool) *Set {
	p := s.Policies()
	set := &Set{
		snapshot: s, goals: make(map[string]*v1alpha1.Goal, len(p.Goals)), templates: make(map[string]*compiledTemplate, len(p.Templates)),
		exceptions: map[bindingName][]*Exception{}, about: map[string][]*Binding{}, namespaces: map[string]expression.Value{},
		budgets: map[string]*expression.Budget{}, dear: dear,
	}
	set.callers = access.NewCallers(s, set.namespaceValue)
	for _, g := range p.Goals {
		set.goals[g.Name] = g
	}
	for _, t := range p.Templates {
		set.template(t)
	}
	for _, b := range p.ClusterBindings {
		set.clusterBinding(b)
	}
	for _, b := range p.Bindings {
		set.namespaceBinding(b)
	}
	for _, e := range p.Exceptions {
		set.exception(e)
	}
	if set.Overspent() {
		return set.Again()
	}
	return set
}

// Empty reports whether there is nothing to be held to.
func (s *Set) Empty() bool { return len(s.Bindings) == 0 }

func (s *Set) clusterBinding(b *v1alpha1.ClusterPolicyBinding) {
	layer := model.LayerDefault
	if b.Spec.Tier == v1alpha1.TierMandatory {
		layer = model.LayerMandatory
	}
	out := &Binding{
		Ref: s.snapshot.PolicyReference("ClusterPolicyBinding", "", b.Name), Spec: &b.Spec.PolicyBindingSpec,
		Mandatory: layer == model.LayerMandatory,
	}
	out.Origin = model.Origin{Object: out.Ref, Layer: layer, Source: b.Annotations[v1alpha1.SourceAnnotation]}
	out.namespaces = s.selector(out, "spec.namespaces", b.Spec.Namespaces)
	if b.Spec.Rollout != nil {
		s.bindStages(out, b)
		return
	}
	s.bind(out)
}

func (s *Set) namespaceBinding(b *v1alpha1.PolicyBinding) {
	out := &Binding{
		Ref: s.snapshot.PolicyReference("PolicyBinding", b.Namespace, b.Name), Spec: &b.Spec,
		Mandatory: true, namespace: b.Namespace, namespaces: labels.Everything(),
	}
	out.Origin = model.Origin{Object: out.Ref, Layer: model.LayerNamespace, Source: b.Annotations[v1alpha1.SourceAnnotation]}
	if s.budgets[b.Namespace] == nil {
		s.budgets[b.Namespace] = expression.NewBudget(ofNamespace(b.Namespace), budgetOfNamespace)
	}
	if out.budget = s.budgets[b.Namespace]; s.dear[b.Namespace] {
		s.brokenBinding(out, "spec.policy", "CostExceeded", out.budget.Err().Error(), "bind fewer policies in this namespace, or with shorter parameters")
	}
	s.bind(out)
}

// bind makes a binding one that can be asked.
func (s *Set) bind(b *Binding) {
	s.Bindings = append(s.Bindings, b)
	b.parts = []*Binding{b}
	s.scope(b)
	s.version(b, "spec.policy")
}

// scope reads what a binding is about, and the goals that it serves.
func (s *Set) scope(b *Binding) {
	b.asked = make(map[model.Reference]Outcome, len(s.snapshot.Applications()))
	b.applications = s.selector(b, "spec.applications", b.Spec.Applications)
	for i, name := range b.Spec.Goals {
		goal := s.goals[string(name)]
		if goal == nil {
			s.warn(b.Origin, index("spec.goals", i), "GoalNotFound",
				"Goal "+string(name)+" does not exist; the binding holds all the same, and no goal counts it", b.Ref.String(), "create the Goal, or take the name out")
			continue
		}
		b.Goals = append(b.Goals, goal)
		if b.Origin.Goals != "" {
			b.Origin.Goals += "; "
		}
		b.Origin.Goals += goal.Name + " “" + goal.Spec.Title + "”"
	}
}

// version finds the template of a binding, which a field names, and fits in its parameters.
func (s *Set) version(b *Binding, field string) {
	name := v1alpha1.TemplateName(b.Spec.Policy.Name, b.Spec.Policy.Version)
	t := s.templates[name]
	if t == nil {
		s.brokenBinding(b, field, "TemplateNotFound", "PolicyTemplate "+name+" does not exist",
			"install that version of the policy, or bind another one")
		return
	}
	b.Template, b.compiled = t.spec, t
	if t.broken != "" {
		s.brokenBinding(b, field, "TemplateNotAccepted", "PolicyTemplate "+name+" cannot be used: "+t.broken,
			"bind a version that is accepted")
		return
	}
	s.parameters(b)
}

// brokenBinding marks a binding that cannot be applied.
func (s *Set) brokenBinding(b *Binding, field, reason, why, fix string) {
	if b.Broken == "" {
		b.Broken = why
	}
	s.refuse(b.Origin, field, reason, why+b.consequence(), b.Ref.String(), fix)
}

// consequence is what comes of a binding that cannot be applied.
func (b *Binding) consequence() string {
	switch {
	case b.Rollout != nil && b.part == partHeld && b.Closes():
		return "; its rollout stops, and what it holds in already is closed until it can be applied"
	case b.Rollout != nil && b.part == partHeld:
		return "; its rollout stops, and nothing is held to it"
	case b.Closes():
		return "; what it is about is closed until it can be applied"
	}
	return "; nothing is held to it"
}

// facts are those of its evaluations.
func (b *Binding) facts(of expression.Facts) expression.Facts {
	return of.With(b.params).Within(b.budget)
}

// Closes reports whether what breaks the binding is refused.
func (b *Binding) Closes() bool { return b.Mandatory && b.Spec.Mode == v1alpha1.ModeEnforce }

// Covers reports whether the binding, or this part of it, is about a namespace.
func (b *Binding) Covers(n model.Namespace) bool {
	return (b.namespace == "" || b.namespace == n.Name) && b.namespaces.Matches(labels.Set(n.Labels)) && b.reaches(n)
}

// bindingsOf are those about a namespace. One that is not known has no labels.
func (s *Set) bindingsOf(namespace string) []*Binding {
	out, ok := s.about[namespace]
	if ok {
		return out
	}
	n, known := s.snapshot.Namespace(namespace)
	if !known {
		n.Name = namespace
	}
	for _, b := range s.Bindings {
		for _, p := range b.parts {
			if p.Covers(n) {
				out = append(out, p)
			}
		}
	}
	s.about[namespace] = out
	return out
}

// namespaceValue is a namespace as expressions see it.
func (s *Set) namespaceValue(name string) expression.Value {
	if v := s.namespaces[name]; v != nil {
		return v
	}
	n, _ := s.snapshot.Namespace(name)
	v := expression.Namespace(name, n.Labels)
	s.namespaces[name] = v
	return v
}

// String names a binding as a refusal does: what is bound, how strictly, for which goal,
// and whom to ask.
func (b *Binding) String() string {
	var w strings.Builder
	w.WriteString(b.Ref.String() + " (policy " + string(b.Spec.Policy.Name) + " " + b.Spec.Policy.Version)
	if !b.Mandatory {
		w.WriteString(", a default")
	}
	for i, g := range b.Goals {
		w.WriteString(cmp.Or(map[bool]string{true: "; for the goal "}[i == 0], ", ") + "“" + g.Spec.Title + "”")
	}
	if b.Spec.Contact != "" {
		w.WriteString("; ask " + b.Spec.Contact)
	}
	return w.String() + ")"
}
