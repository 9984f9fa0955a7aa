// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

// Exception is a PolicyException and whether it is in force.
type Exception struct {
	Ref    model.Reference
	Origin model.Origin
	Spec   *v1alpha1.PolicyExceptionSpec
	// Reason is why it is not in force, in CamelCase, and Why the same in words; both are
	// empty where it is.
	Reason, Why string
	// Judgements are what policies about exceptions say of it.
	Judgements []Judgement
	// Exempts is what it lets go, each once and in order of the asking.
	Exempts []string
}

func (e *Exception) exempts(of Subject) {
	if name := of.String(); !slices.Contains(e.Exempts, name) {
		e.Exempts = append(e.Exempts, name)
	}
}

// InForce reports whether it lets anything go.
func (e *Exception) InForce() bool { return e.Reason == "" }

// ShownDigest is how many characters of a digest are shown, and the fewest to approve by.
const ShownDigest = 20

// Digest is what an approval is of: the exception, its name and namespace, and all of its
// spec but the approval.
func Digest(e *v1alpha1.PolicyException) (string, error) {
	spec := e.Spec
	spec.Approval = nil
	text, err := json.Marshal(struct {
		Namespace, Name string
		Spec            v1alpha1.PolicyExceptionSpec
	}{e.Namespace, e.Name, spec})
	if err != nil {
		return "", fmt.Errorf("digesting PolicyException %s/%s: %w", e.Namespace, e.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// exception judges one. Those that are not in force are kept: reports show them.
func (s *Set) exception(e *v1alpha1.PolicyException) {
	out := &Exception{Ref: s.snapshot.PolicyReference("PolicyException", e.Namespace, e.Name), Spec: &e.Spec}
	out.Origin = model.Origin{Object: out.Ref, Layer: model.LayerMandatory, Source: e.Annotations[v1alpha1.SourceAnnotation]}
	s.Exceptions = append(s.Exceptions, out)
	name := bindingName{name: string(e.Spec.Binding.Name)}
	if e.Spec.Binding.Kind == "PolicyBinding" {
		name.namespace = e.Namespace
	}
	b := s.binding(name)
	digest, err := Digest(e)
	approve := fmt.Sprintf("trellis exception approve %s -n %s --of %.*s", e.Name, e.Namespace, ShownDigest, digest)
	var field, fix string
	switch {
	case b == nil:
		field, fix = "spec.binding", "name an existing binding, or delete the exception"
		out.Reason, out.Why = "BindingNotFound", fmt.Sprintf("%s %s does not exist", e.Spec.Binding.Kind, e.Spec.Binding.Name)
	case s.snapshot.At().IsZero():
		out.Reason, out.Why = "MomentUnknown", "the time of day is not known, so it may have expired"
		field, fix = "spec.expires", "say at which moment is asked"
	case !e.Spec.Expires.After(s.snapshot.At()):
		field, fix = "spec.expires", "meet the policy, or ask for another exception"
		out.Reason, out.Why = "Expired", "it expired at "+e.Spec.Expires.UTC().Format(time.RFC3339)
	case e.Spec.Approval == nil:
		field, fix = "spec.approval", "have it approved by somebody who may: "+approve
		out.Reason, out.Why = "NotApproved", "nobody has approved it"
	case err != nil || e.Spec.Approval.Of != digest:
		field, fix = "spec.approval", "have it approved again: "+approve
		out.Reason, out.Why = "ApprovalOutdated", "it was changed after "+e.Spec.Approval.By+" approved it"
	case e.Spec.Approval.Policy != "" && e.Spec.Approval.Policy != b.Spec.Policy.Name:
		field, fix = "spec.approval.policy", "have it approved again if this policy is not to hold either: "+approve
		out.Reason, out.Why = "ApprovalOutdated", fmt.Sprintf("%s approved it from policy %s, and %s %s binds policy %s now",
			e.Spec.Approval.By, e.Spec.Approval.Policy, e.Spec.Binding.Kind, e.Spec.Binding.Name, b.Spec.Policy.Name)
	default:
		s.checkRules(b, out)
		s.checkSubject(e, out)
		field, fix = s.judgeException(b, e, out)
	}
	if !out.InForce() {
		s.refuse(out.Origin, field, out.Reason, out.Why+"; nothing is let go", out.Ref.String(), fix)
		return
	}
	s.exceptions[name] = append(s.exceptions[name], out)
}

func (s *Set) binding(name bindingName) *Binding {
	i := slices.IndexFunc(s.Bindings, func(b *Binding) bool { return b.Ref.Name == name.name && b.namespace == name.namespace })
	if i < 0 {
		return nil
	}
	return s.Bindings[i]
}

// checkRules warns of names that the policy does not have.
func (s *Set) checkRules(b *Binding, e *Exception) {
	if slices.ContainsFunc(b.parts, func(p *Binding) bool { return p.compiled == nil }) {
		return
	}
	for i, name := range e.Spec.Rules {
		if !slices.ContainsFunc(b.parts, func(p *Binding) bool { return p.compiled.hasRule(name) }) {
			s.warn(e.Origin, index("spec.rules", i), "RuleNotFound",
				fmt.Sprintf("policy %s %s has no rule %s; nothing is let go by that name", b.Spec.Policy.Name, b.Spec.Policy.Version, name), e.Ref.String(), "use the name of one of its constraints, contributions or assertions")
		}
	}
}

// checkSubject warns of an exception for something that is not there. It may still come.
func (s *Set) checkSubject(e *v1alpha1.PolicyException, out *Exception) {
	missing := func(at, what string) {
		s.warn(out.Origin, "spec.subject."+at, "SubjectNotFound", what+"; nothing is let go by it", out.Ref.String(), "correct the name, or delete the exception")
	}
	if name := string(e.Spec.Subject.SecureIngress); name != "" {
		if !slices.ContainsFunc(s.snapshot.SecureIngresses(), func(in *v1alpha1.SecureIngress) bool { return in.Namespace == e.Namespace && in.Name == name }) {
			missing("secureIngress", "SecureIngress "+e.Namespace+"/"+name+" does not exist")
		}
	}
	name := string(e.Spec.Subject.Application)
	if name == "" {
		return
	}
	app := s.snapshot.Application(model.Name{Namespace: e.Namespace, Name: name})
	if app == nil {
		missing("application", "Application "+e.Namespace+"/"+name+" does not exist")
		return
	}
	route := e.Spec.Subject.Route
	if route != "" && !slices.ContainsFunc(app.Spec.Routes, func(r v1alpha1.Route) bool { return r.Name == route }) {
		missing("route", "Application "+e.Namespace+"/"+name+" has no route "+string(route))
	}
}

func (t *compiledTemplate) hasRule(name v1alpha1.LabelName) bool {
	return slices.ContainsFunc(t.spec.Spec.Constraints, func(c v1alpha1.Constraint) bool { return c.Name == name }) ||
		slices.ContainsFunc(t.spec.Spec.Contributions, func(c v1alpha1.Contribution) bool { return c.Name == name }) ||
		slices.ContainsFunc(t.spec.Spec.Assertions, func(a v1alpha1.Assertion) bool { return a.Name == name })
}

// judgeException holds an exception to the policies about exceptions, from which nothing
// is exempt.
func (s *Set) judgeException(of *Binding, e *v1alpha1.PolicyException, out *Exception) (field, fix string) {
	if b := s.brokenAbout(of, e.Namespace); b != nil {
		out.Reason, out.Why = "PolicyBroken", "whether "+b.String()+" allows exceptions cannot be told: "+b.Broken
		return "spec.binding", "ask for the binding to be mended: " + b.Ref.String()
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&e.Spec)
	if err != nil {
		out.Reason, out.Why = "Unreadable", err.Error()
		return "spec", "correct it"
	}
	days := int64(math.Ceil(e.Spec.Expires.Sub(s.snapshot.At()).Hours() / 24))
	facts := expression.NewFacts(map[string]expression.Value{
		"namespaceObject": s.namespaceValue(e.Namespace),
		"exception":       expression.Object(expression.SortPolicyException, e.Name, e.Labels, e.Annotations, spec),
		"days":            expression.Integer(days),
	})
	subject := Subject{Sort: v1alpha1.SubjectPolicyException, Origin: out.Origin, Namespace: e.Namespace}
	for _, b := range s.bindingsOf(e.Namespace) {
		if b.Broken == "" && len(b.compiled.constraints[subject.Sort]) > 0 {
			b.record(out.Ref, Pass)
		}
	}
	out.Judgements = s.judge(subject, facts)
	for _, j := range out.Judgements {
		switch {
		case j.Closes() && out.InForce():
			out.Reason, out.Why = j.Reason(), j.Message+" ("+j.Binding.String()+")"
			field, fix = j.Field(), j.Fix()
		case !j.Silent():
			s.finding(j.Severity(), out.Origin, j.Field(), j.Reason(), j.Message, j.Binding.String(), j.Fix())
		}
	}
	return field, fix
}

// brokenAbout is a binding that cannot be applied and may be about exceptions in a
// namespace, or nil. One that is itself to be let go does not count: nothing else could
// open what it closes.
func (s *Set) brokenAbout(of *Binding, namespace string) *Binding {
	for _, b := range s.bindingsOf(namespace) {
		if b.Ref != of.Ref && b.Broken != "" && b.Closes() && (b.compiled == nil || b.compiled.aboutExceptions) {
			return b
		}
	}
	return nil
}

// exemption is the exception that lets a subject go, or nil.
func (s *Set) exemption(b *Binding, rule v1alpha1.LabelName, of Subject) *Exception {
	for _, e := range s.exceptions[bindingName{b.namespace, b.Ref.Name}] {
		if e.covers(rule, of) {
			return e
		}
	}
	return nil
}

func (e *Exception) covers(rule v1alpha1.LabelName, of Subject) bool {
	if e.Ref.Namespace != of.Namespace || len(e.Spec.Rules) > 0 && !slices.Contains(e.Spec.Rules, rule) {
		return false
	}
	switch by := e.Spec.Subject; {
	case by.SecureIngress != "":
		return string(by.SecureIngress) == of.SecureIngress
	case by.Application == "" || string(by.Application) != of.Application:
		return false
	default:
		return by.Route == "" || string(by.Route) == of.Route
	}
}
