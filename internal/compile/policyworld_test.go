// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// moment is when exceptions of random worlds are judged.
var moment = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// closing are constraints that read what was stated, and nothing that other policies
// change: those that do are met where another policy meets them, which opens again what
// they would close alone.
var closing = []v1alpha1.Constraint{
	{Subject: v1alpha1.SubjectApplication, Expression: "application.name != params.name"},
	{Subject: v1alpha1.SubjectApplication, Expression: "application.spec.routes.size() < 4", When: "namespaceObject.name != 'n0'"},
	{Subject: v1alpha1.SubjectRoute, Expression: "!has(route.methods)"},
	{Subject: v1alpha1.SubjectRoute, Expression: "route.authentication.mode != 'None'"},
	{Subject: v1alpha1.SubjectRoute, Expression: "has(route.authentication) && route.authentication.mode == 'Required'", When: "route.name != 'r0'"},
	{Subject: v1alpha1.SubjectCaller, Expression: "!has(caller.peer.any)"},
	{Subject: v1alpha1.SubjectCaller, Expression: "callerNamespace.name != params.where"},
	{Subject: v1alpha1.SubjectCall, Expression: "calleeNamespace.name == params.where"},
	{Subject: v1alpha1.SubjectSecureIngress, Expression: "ingress.name != 'in1'"},
}

// adding are contributions.
var adding = []v1alpha1.Contribution{
	{DenyAccess: &v1alpha1.AccessContribution{From: "caller.name == params.where"}},
	{RestrictAccess: &v1alpha1.AccessContribution{From: "caller.name != params.where"}},
	{RestrictAccess: &v1alpha1.AccessContribution{From: "false"}},
	{DenyAccess: &v1alpha1.AccessContribution{Applications: "caller.name == params.name"}},
	{RestrictAccess: &v1alpha1.AccessContribution{Applications: "callerNamespace.name != params.where && caller.name != params.name"}},
	{MutualTLS: &v1alpha1.MutualTLSContribution{Mode: v1alpha1.MutualTLSStrict}},
	{Authentication: &v1alpha1.AuthenticationContribution{}},
	{Authentication: &v1alpha1.AuthenticationContribution{When: "route.name != 'r0' && authentication != 'None'", Scopes: "[params.name]"}},
	{Authentication: &v1alpha1.AuthenticationContribution{When: "hosts.exists(h, h.startsWith('h0.'))", Scopes: "['s1']"}},
	{Authentication: &v1alpha1.AuthenticationContribution{When: "route.methods.size() > 1"}},
	{Timeout: &v1alpha1.TimeoutContribution{Maximum: "duration('5s')", Fallback: "duration('9s')"}},
	{TLS: &v1alpha1.TLSContribution{MinimumVersion: "'TLSv1_3'"}},
	{Retries: &v1alpha1.RetriesContribution{Maximum: "1"}},
	{Egress: &v1alpha1.EgressContribution{Hosts: "[params.name + '.example.com']"}},
}

// templates are a policy for each of them, of which a later version has another rule, and one
// that cannot be used.
func templates() []*v1alpha1.PolicyTemplate {
	var out []*v1alpha1.PolicyTemplate
	version := "1.0.0"
	add := func(name string) *v1alpha1.PolicyTemplate {
		t := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + version}}
		t.Spec = v1alpha1.PolicyTemplateSpec{
			Policy: v1alpha1.LabelName(name), Version: version, Title: name, Remediation: v1alpha1.Remediation{Text: "meet it"},
			Parameters: []v1alpha1.PolicyParameter{{Name: "name", Type: v1alpha1.ParameterString}, {Name: "where", Type: v1alpha1.ParameterString}},
		}
		out = append(out, t)
		return t
	}
	for later, of := range []string{"1.0.0", "2.0.0"} {
		version = of
		for i := range closing {
			c := closing[(i+later)%len(closing)]
			c.Name, c.Message = "rule", "it is not allowed"
			add(fmt.Sprintf("closing%d", i)).Spec.Constraints = []v1alpha1.Constraint{c}
		}
		for i := range adding {
			c := adding[(i+later)%len(adding)]
			c.Name = "rule"
			add(fmt.Sprintf("adding%d", i)).Spec.Contributions = []v1alpha1.Contribution{c}
		}
	}
	version = "1.0.0"
	// What is asserted changes nothing.
	for i, from := range []v1alpha1.AssertionClient{{Internet: &v1alpha1.InternetClient{}}, {Namespaces: "caller.name == params.where"}} {
		add(fmt.Sprintf("asserting%d", i)).Spec.Assertions = []v1alpha1.Assertion{{
			Name: "rule", From: from, Request: v1alpha1.AssertionRequest{Paths: "['/' + params.name]"}, Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "it is open",
		}}
	}
	add("misspelt").Spec.Constraints = []v1alpha1.Constraint{{Name: "rule", Subject: v1alpha1.SubjectRoute, Expression: "root.name == ''", Message: "never"}}
	return out
}

// policyName is one of templates, or seldom of none.
func (w world) policyName() string {
	switch {
	case w.chance(3):
		return pick(w, "misspelt", "missing")
	case w.chance(5):
		return pick(w, "asserting0", "asserting1")
	case w.chance(45):
		return fmt.Sprintf("closing%d", w.IntN(len(closing)))
	}
	return fmt.Sprintf("adding%d", w.IntN(len(adding)))
}

func (w world) bound(mode v1alpha1.PolicyMode) v1alpha1.PolicyBindingSpec {
	quoted := func(s string) v1alpha1.JSON {
		raw, _ := json.Marshal(s)
		return v1alpha1.JSON{Raw: raw}
	}
	return v1alpha1.PolicyBindingSpec{
		Policy: v1alpha1.PolicyVersion{Name: v1alpha1.LabelName(w.policyName()), Version: "1.0.0"}, Mode: mode,
		Parameters: []v1alpha1.ParameterValue{
			{Name: "name", Value: quoted(pick(w, "app0", "app1", "s0", "s1"))}, {Name: "where", Value: quoted(pick(w, "n0", "n1", "edge"))},
		},
	}
}

// policies adds bindings of a mode, and exceptions from some of them.
func (w world) policies(t *testing.T, in *model.Input, count int, mode func() v1alpha1.PolicyMode) {
	t.Helper()
	in.At = moment
	for i := range in.Namespaces {
		in.Namespaces[i].Labels = map[string]string{"team": pick(w, "red", "blue")}
	}
	in.Policies.Templates = templates()
	for i := range count {
		name := fmt.Sprintf("b%d", i)
		if w.chance(25) {
			b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(w, "n0", "n1", "edge")}, Spec: w.bound(mode())}
			in.Policies.Bindings = append(in.Policies.Bindings, b)
			w.exception(t, in, "PolicyBinding", name, b.Namespace)
			continue
		}
		in.Policies.ClusterBindings = append(in.Policies.ClusterBindings, w.clusterBinding(name, pick(w, v1alpha1.TierMandatory, v1alpha1.TierMandatory, v1alpha1.TierDefault), mode()))
		w.exception(t, in, "ClusterPolicyBinding", name, pick(w, "n0", "n1", "edge"))
	}
}

func (w world) clusterBinding(name string, tier v1alpha1.PolicyTier, mode v1alpha1.PolicyMode) *v1alpha1.ClusterPolicyBinding {
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	b.Spec = v1alpha1.ClusterPolicyBindingSpec{Tier: tier, PolicyBindingSpec: w.bound(mode)}
	if w.chance(50) {
		b.Spec.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}
	}
	return b
}

// rollOut brings the later version of its policy to a binding, of which so many stages hold.
func (w world) rollOut(b *v1alpha1.ClusterPolicyBinding, from string, holding int) {
	b.Spec.Policy.Version = "2.0.0"
	b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{From: from, Soak: metav1.Duration{Duration: time.Hour}}
	for _, team := range []string{"red", "blue"} {
		b.Spec.Rollout.Stages = append(b.Spec.Rollout.Stages, v1alpha1.PolicyRolloutStage{
			Name: v1alpha1.LabelName(team), Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"team": team}},
		})
	}
	b.Status.Rollout = &v1alpha1.PolicyRolloutStatus{Version: "2.0.0", From: from, Holds: []string{"red", "blue", "rest"}[:holding]}
}

// exception lets something go, where somebody has approved and it has not expired.
func (w world) exception(t *testing.T, in *model.Input, kind, binding, namespace string) {
	t.Helper()
	if w.chance(50) {
		return
	}
	e := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Name: "for-" + binding, Namespace: namespace}}
	e.Spec = v1alpha1.PolicyExceptionSpec{
		Binding: v1alpha1.BindingReference{Kind: kind, Name: v1alpha1.LabelName(binding)}, Reason: "it has to be",
		Expires: metav1.NewTime(moment.Add(time.Duration(w.IntN(5)) * time.Hour)),
		Subject: v1alpha1.ExceptionSubject{Application: v1alpha1.LabelName(fmt.Sprintf("app%d", w.IntN(applications)))},
	}
	if namespace == "edge" {
		e.Spec.Subject = v1alpha1.ExceptionSubject{SecureIngress: "in1"}
	} else if w.chance(40) {
		e.Spec.Subject.Route = pick(w, routeNames...)
	}
	if w.chance(90) {
		digest, err := policy.Digest(e)
		if err != nil {
			t.Fatal(err)
		}
		e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "somebody", Of: digest}
	}
	in.Policies.Exceptions = append(in.Policies.Exceptions, e)
}
