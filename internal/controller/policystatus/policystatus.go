// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package policystatus says what the objects of policies show of themselves: whether a
// goal is met, whether a binding holds, whether a template can be bound and whether an
// exception is in force. It only computes; package controller writes.
package policystatus

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
	"github.com/trellis-mesh/trellis/internal/posture"
)

// Bounds of lists in status.
const (
	maxBindings   = 64
	maxViolations = 32
	maxPolicies   = 64
)

// Status is that of one object.
type Status struct {
	Ref    model.Reference
	Object metav1.Object
	// Was and Is are pointers to the kind's status type.
	Was, Is any
	// Before and After are their conditions. After has no times yet: Settle puts them in.
	Before, After []metav1.Condition
}

// Settle puts the conditions, with their times, into Is.
func (s *Status) Settle(conditions []metav1.Condition) {
	s.After = conditions
	switch is := s.Is.(type) {
	case *v1alpha1.GoalStatus:
		is.Conditions = conditions
	case *v1alpha1.PolicyTemplateStatus:
		is.Conditions = conditions
	case *v1alpha1.PolicyBindingStatus:
		is.Conditions = conditions
	case *v1alpha1.PolicyExceptionStatus:
		is.Conditions = conditions
	}
}

// Known returns the newest status of an object: the one that a cache shows, or a newer
// one that was written since.
type Known func(object metav1.Object, cached any) any

// All are the statuses of all objects of policies. The problems of an object are those of
// its findings.
func All(s *model.Snapshot, p *posture.Posture, problems func(model.Reference) []v1alpha1.Problem, known Known) []*Status {
	var out []*Status
	policies := s.Policies()
	for i, g := range p.Goals {
		out = append(out, goal(g, policies.Goals[i], known))
	}
	bound := map[string]int32{}
	for _, b := range p.Bindings {
		bound[v1alpha1.TemplateName(b.Spec.Policy.Name, b.Spec.Policy.Version)]++
	}
	for _, b := range policies.ClusterBindings {
		if r := b.Spec.Rollout; r != nil && r.From != "" && r.From != b.Spec.Policy.Version {
			bound[v1alpha1.TemplateName(b.Spec.Policy.Name, r.From)]++
		}
	}
	for _, t := range policies.Templates {
		out = append(out, template(s, t, bound[t.Name], problems, known))
	}
	for _, b := range policies.ClusterBindings {
		one := binding(p, s.PolicyReference("ClusterPolicyBinding", "", b.Name), b, &b.Status, problems, known)
		if b.Spec.Rollout != nil {
			progress(one, p.Binding(one.Ref), b, s.At())
		}
		out = append(out, one)
	}
	for _, b := range policies.Bindings {
		out = append(out, binding(p, s.PolicyReference("PolicyBinding", b.Namespace, b.Name), b, &b.Status, problems, known))
	}
	for i, e := range policies.Exceptions {
		out = append(out, exception(p.Exceptions[i], e, known))
	}
	return out
}

// progress says how far a rollout has come. What was found is about the position in the
// cache: where a newer one was written since, that one stands until it has been judged.
func progress(of *Status, b *posture.Binding, object *v1alpha1.ClusterPolicyBinding, at time.Time) {
	was, _ := of.Was.(*v1alpha1.PolicyBindingStatus)
	is, _ := of.Is.(*v1alpha1.PolicyBindingStatus)
	if !equality.Semantic.DeepEqual(was.Rollout, object.Status.Rollout) {
		is.Rollout = was.Rollout
		for _, c := range was.Conditions {
			if c.Type == v1alpha1.ConditionProgressing {
				of.After = append(of.After, c)
			}
		}
		return
	}
	is.Rollout = b.Rollout.Next(b.Troubles, at)
	c := rollout.Condition(is.Rollout, b.Troubles, object.Spec.Rollout.Soak.Duration)
	of.After = append(of.After, condition(object, c.Type, c.Status, c.Reason, c.Message))
}

func condition(object metav1.Object, kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	const longest = 2048
	if len(message) > longest {
		message = message[:longest]
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: object.GetGeneration()}
}

// truth is the status of a condition.
func truth(v posture.Verdict) metav1.ConditionStatus {
	switch {
	case v.Met:
		return metav1.ConditionTrue
	case v.Known:
		return metav1.ConditionFalse
	}
	return metav1.ConditionUnknown
}

func goal(g *posture.Goal, object *v1alpha1.Goal, known Known) *Status {
	was, _ := known(object, &object.Status).(*v1alpha1.GoalStatus)
	v := g.Verdict()
	is := &v1alpha1.GoalStatus{ObservedGeneration: object.Generation, Rollup: g.Rollup}
	for _, b := range g.Bindings[:min(len(g.Bindings), maxBindings)] {
		is.Bindings = append(is.Bindings, b.Ref.String())
	}
	out := &Status{Ref: g.Ref, Object: object, Was: was, Is: is, Before: was.Conditions}
	// Ready is that it was looked at: a goal that is not met is no failure to deploy it.
	out.After = []metav1.Condition{
		condition(object, v1alpha1.ConditionMet, truth(v), v.Reason, v.Message),
		condition(object, v1alpha1.ConditionReady, metav1.ConditionTrue, "Observed", "what serves this goal is counted"),
	}
	return out
}

// accepted are the conditions of an object that has to be accepted and nothing more.
func accepted(object metav1.Object, list []v1alpha1.Problem, well string) []metav1.Condition {
	errors := 0
	var first v1alpha1.Problem
	for _, p := range list {
		if p.Severity == string(model.SeverityError) {
			if errors == 0 {
				first = p
			}
			errors++
		}
	}
	if errors == 0 {
		return []metav1.Condition{
			condition(object, v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted", well),
			condition(object, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready", well),
		}
	}
	message := first.Message
	if errors > 1 {
		message = fmt.Sprintf("%s (and %d more, see status.problems)", message, errors-1)
	}
	return []metav1.Condition{
		condition(object, v1alpha1.ConditionAccepted, metav1.ConditionFalse, first.Reason, message),
		condition(object, v1alpha1.ConditionReady, metav1.ConditionFalse, first.Reason, message),
		condition(object, v1alpha1.ConditionStalled, metav1.ConditionTrue, first.Reason, message),
	}
}

func template(s *model.Snapshot, t *v1alpha1.PolicyTemplate, bindings int32, problems func(model.Reference) []v1alpha1.Problem, known Known) *Status {
	was, _ := known(t, &t.Status).(*v1alpha1.PolicyTemplateStatus)
	ref := s.PolicyReference("PolicyTemplate", "", t.Name)
	is := &v1alpha1.PolicyTemplateStatus{ObservedGeneration: t.Generation, Bindings: bindings, Problems: problems(ref)}
	return &Status{
		Ref: ref, Object: t, Was: was, Is: is, Before: was.Conditions,
		After: accepted(t, is.Problems, "this version can be bound"),
	}
}

func binding(p *posture.Posture, ref model.Reference, object metav1.Object, cached *v1alpha1.PolicyBindingStatus, problems func(model.Reference) []v1alpha1.Problem, known Known) *Status {
	was, _ := known(object, cached).(*v1alpha1.PolicyBindingStatus)
	b := p.Binding(ref)
	is := &v1alpha1.PolicyBindingStatus{ObservedGeneration: object.GetGeneration(), Rollup: b.Rollup, Problems: problems(ref)}
	for i, j := range b.Judgements {
		if i == maxViolations {
			break
		}
		is.Violations = append(is.Violations, violation(j))
	}
	v := b.Verdict()
	out := &Status{Ref: ref, Object: object, Was: was, Is: is, Before: was.Conditions}
	out.After = append(accepted(object, is.Problems, "the policy is applied to what it is about"),
		condition(object, v1alpha1.ConditionHolds, truth(v), v.Reason, v.Message))
	return out
}

func violation(j policy.Judgement) v1alpha1.PolicyViolation {
	const longest = 1024
	out := v1alpha1.PolicyViolation{Subject: j.Subject.String(), Rule: j.Rule, Message: j.Message}
	if len(out.Message) > longest {
		out.Message = out.Message[:longest]
	}
	if j.Exception != nil {
		out.Exception = j.Exception.Ref.Namespace + "/" + j.Exception.Ref.Name
	}
	return out
}

func exception(e *policy.Exception, object *v1alpha1.PolicyException, known Known) *Status {
	was, _ := known(object, &object.Status).(*v1alpha1.PolicyExceptionStatus)
	is := &v1alpha1.PolicyExceptionStatus{ObservedGeneration: object.Generation, Exempt: e.Exempts[:min(len(e.Exempts), maxViolations)]}
	out := &Status{Ref: e.Ref, Object: object, Was: was, Is: is, Before: was.Conditions}
	if e.InForce() {
		out.After = []metav1.Condition{condition(object, v1alpha1.ConditionReady, metav1.ConditionTrue, "InForce",
			"approved by "+e.Spec.Approval.By+"; it expires at "+e.Spec.Expires.UTC().Format("2006-01-02T15:04:05Z"))}
		return out
	}
	out.After = []metav1.Condition{
		condition(object, v1alpha1.ConditionReady, metav1.ConditionFalse, e.Reason, e.Why+"; nothing is let go"),
		condition(object, v1alpha1.ConditionStalled, metav1.ConditionTrue, e.Reason, e.Why),
	}
	return out
}

// Bound are the policies that an object is held to, for its own status.
func Bound(p *posture.Posture, of model.Reference) []v1alpha1.BoundPolicy {
	var out []v1alpha1.BoundPolicy
	for _, s := range p.About(of) {
		if len(out) == maxPolicies {
			break
		}
		one := v1alpha1.BoundPolicy{
			Binding: s.Binding.Ref.String(), Tier: string(s.Binding.Origin.Layer), Mode: s.Binding.Spec.Mode,
			State: s.State, Contact: s.Binding.Spec.Contact,
		}
		if t := s.Binding.Template; t != nil {
			one.Title = t.Spec.Title
		}
		out = append(out, one)
	}
	return out
}
