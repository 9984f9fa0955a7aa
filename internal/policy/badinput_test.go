// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// askEverything asks a Set of everything, and reports whether an Application, and an
// ingress, are closed.
func askEverything(s *policy.Set) (application, ingress bool) {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}
	app.Spec.Routes = []v1alpha1.Route{{}}
	app.Spec.Exposures = []v1alpha1.Exposure{{}}
	app.Spec.Access = &v1alpha1.Access{Callers: []v1alpha1.Caller{{}}, Calls: []v1alpha1.Call{{}}}
	at := origin(app)
	closes := func(list ...policy.Judgement) bool {
		for _, j := range list {
			if j.Message == "" || j.Fix() == "" || j.Reason() == "" {
				panic(fmt.Sprintf("%+v says too little", j))
			}
			if j.Closes() {
				return true
			}
		}
		return false
	}
	if a := s.Application(app, at); a != nil {
		for _, one := range a.Assertions() {
			one.Answer = &policy.Answer{Outcome: policy.Fail, Says: "it is Allow"}
			if j := one.Judge(); j.Closes() || one.Digest() == "" || one.String() == "" || len(one.Requests) > policy.MaxAsserted {
				panic(fmt.Sprintf("%+v closes, or has no question", j))
			}
		}
		for _, c := range a.Contributions() {
			application = application || c.Closes()
			if c.Authentication {
				j, _ := a.About(c, policy.Route{Origin: at})
				a.Kept(j)
			}
		}
		route := policy.Route{Origin: at}
		application = closes(a.Broken()...) || closes(a.Judge()...) || closes(a.JudgeRoute(route)...) || closes(a.JudgeExposure(0, at, nil, model.Name{})...) ||
			closes(a.JudgeCaller(0, at, "")...) || closes(a.JudgeCall(0, at, "")...) || application
		// What is not there at all.
		a.JudgeRoute(policy.Route{Index: 9, Origin: at})
		a.JudgeExposure(9, at, nil, model.Name{})
		a.JudgeCaller(9, at, "nowhere")
		a.JudgeCall(9, at, "nowhere")
	}
	in := &v1alpha1.SecureIngress{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "i"}}
	for _, c := range s.IngressContributions(in, at) {
		ingress = ingress || c.Closes()
	}
	ingress = closes(s.JudgeIngress(in, at)...) || ingress
	s.JudgeIstioObjects()
	return application, ingress
}

func TestTemplatesThatMakeNoSenseCloseAndNeverPanic(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.PolicyTemplateSpec){
		"nothing at all":                     func(s *v1alpha1.PolicyTemplateSpec) { *s = v1alpha1.PolicyTemplateSpec{} },
		"no rules":                           func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints = nil },
		"a constraint without an expression": func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].Expression = "" },
		"an unknown subject":                 func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].Subject = "Pod" },
		"no subject":                         func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].Subject = "" },
		"two rules of one name":              func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints = append(s.Constraints, s.Constraints[0]) },
		"a condition that is no condition":   func(s *v1alpha1.PolicyTemplateSpec) { s.Constraints[0].When = "1" },
		"a very long expression": func(s *v1alpha1.PolicyTemplateSpec) {
			s.Constraints[0].Expression = v1alpha1.Expression(strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000))
		},
		"a parameter twice":             parameter(v1alpha1.PolicyParameter{Name: "x", Type: "String"}, v1alpha1.PolicyParameter{Name: "x", Type: "Integer"}),
		"a parameter of no type":        parameter(v1alpha1.PolicyParameter{Name: "x", Default: &v1alpha1.JSON{Raw: []byte("1")}}),
		"a default of another type":     parameter(v1alpha1.PolicyParameter{Name: "x", Type: "Integer", Default: &v1alpha1.JSON{Raw: []byte(`"1"`)}}),
		"a default of null":             parameter(v1alpha1.PolicyParameter{Name: "x", Type: "Integer", Default: &v1alpha1.JSON{Raw: []byte("null")}}),
		"a default that is no JSON":     parameter(v1alpha1.PolicyParameter{Name: "x", Type: "Integer", Default: &v1alpha1.JSON{Raw: []byte("{")}}),
		"a required one with default":   parameter(v1alpha1.PolicyParameter{Name: "x", Type: "Integer", Required: true, Default: &v1alpha1.JSON{Raw: []byte("1")}}),
		"a word that CEL reserves":      parameter(v1alpha1.PolicyParameter{Name: "namespace", Type: "String"}),
		"a contribution of nothing":     contribution(v1alpha1.Contribution{}),
		"access without an expression":  contribution(v1alpha1.Contribution{DenyAccess: &v1alpha1.AccessContribution{}}),
		"a restriction without one":     contribution(v1alpha1.Contribution{RestrictAccess: &v1alpha1.AccessContribution{}}),
		"a timeout of nothing":          contribution(v1alpha1.Contribution{Timeout: &v1alpha1.TimeoutContribution{}}),
		"mutual TLS of no mode":         contribution(v1alpha1.Contribution{MutualTLS: &v1alpha1.MutualTLSContribution{}}),
		"a version of nothing":          contribution(v1alpha1.Contribution{TLS: &v1alpha1.TLSContribution{}}),
		"a list of hosts of nothing":    contribution(v1alpha1.Contribution{Egress: &v1alpha1.EgressContribution{}}),
		"a host that is everything":     contribution(v1alpha1.Contribution{Egress: &v1alpha1.EgressContribution{Hosts: "['*']"}}),
		"a host with a star inside":     contribution(v1alpha1.Contribution{Egress: &v1alpha1.EgressContribution{Hosts: "['a.*.example.com']"}}),
		"a range of addresses":          contribution(v1alpha1.Contribution{Egress: &v1alpha1.EgressContribution{Hosts: "['192.0.2.0/24']"}}),
		"retries of nothing":            contribution(v1alpha1.Contribution{Retries: &v1alpha1.RetriesContribution{}}),
		"negative retries":              contribution(v1alpha1.Contribution{Retries: &v1alpha1.RetriesContribution{Maximum: "-1"}}),
		"retries that are a text":       contribution(v1alpha1.Contribution{Retries: &v1alpha1.RetriesContribution{Maximum: "'1'"}}),
		"two in one":                    contribution(v1alpha1.Contribution{MutualTLS: &v1alpha1.MutualTLSContribution{Mode: "Strict"}, Authentication: &v1alpha1.AuthenticationContribution{}}),
		"a negative timeout":            contribution(v1alpha1.Contribution{Timeout: &v1alpha1.TimeoutContribution{Maximum: "duration('-1s')"}}),
		"a timeout that Istio refuses":  contribution(v1alpha1.Contribution{Timeout: &v1alpha1.TimeoutContribution{Maximum: "duration('1500us')"}}),
		"a timeout that bounds nothing": contribution(v1alpha1.Contribution{Timeout: &v1alpha1.TimeoutContribution{Maximum: "duration('0s')"}}),
		"an unknown version":            contribution(v1alpha1.Contribution{TLS: &v1alpha1.TLSContribution{MinimumVersion: "'SSLv3'"}}),
	} {
		t.Run(name, func(t *testing.T) {
			spec := template(nil, constraint(v1alpha1.SubjectApplication, "true"))
			change(&spec.Spec)
			s := compiled(model.Policies{Templates: []*v1alpha1.PolicyTemplate{spec}, ClusterBindings: []*v1alpha1.ClusterPolicyBinding{binding("b")}}, model.Namespace{Name: "n"})
			application, ingress := askEverything(s)
			if !application && !ingress {
				t.Errorf("nothing is closed: %+v", s.Findings)
			}
		})
	}
}

func parameter(list ...v1alpha1.PolicyParameter) func(*v1alpha1.PolicyTemplateSpec) {
	return func(s *v1alpha1.PolicyTemplateSpec) { s.Parameters = list }
}

func contribution(c v1alpha1.Contribution) func(*v1alpha1.PolicyTemplateSpec) {
	return func(s *v1alpha1.PolicyTemplateSpec) {
		c.Name = "adding"
		s.Constraints, s.Contributions = nil, []v1alpha1.Contribution{c}
	}
}

func TestEmptyObjectsAreBrokenAndNeverPanic(t *testing.T) {
	s := compiled(model.Policies{
		Goals:           []*v1alpha1.Goal{{}},
		Templates:       []*v1alpha1.PolicyTemplate{{}},
		ClusterBindings: []*v1alpha1.ClusterPolicyBinding{{}},
		Bindings:        []*v1alpha1.PolicyBinding{{}},
		Exceptions:      []*v1alpha1.PolicyException{{}},
	})
	askEverything(s)
	for _, b := range s.Bindings {
		if b.Broken == "" || b.String() == "" {
			t.Errorf("%+v can be applied", b.Ref)
		}
	}
	if s.Exceptions[0].InForce() {
		t.Error("an empty exception is in force")
	}
}

// FuzzTemplatesNeverPanic reads any JSON as the spec of a template, of a binding and of an
// exception.
func FuzzTemplatesNeverPanic(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `{"constraints":[{}],"contributions":[{},{"tls":{}}]}`,
		`{"constraints":[{"name":"a","subject":"Route","expression":"route.paths[0].exact == ''"}]}`,
		`{"parameters":[{"name":"x","type":"Strings","default":[null]}],"contributions":[{"name":"a","denyAccess":{"from":"caller.name in params.x"}}]}`,
		`{"contributions":[{"name":"a","authentication":{"when":"hosts[0] == ''","scopes":"['']"}}]}`,
	} {
		f.Add(text, `{"parameters":[{"name":"x","value":null}],"namespaces":{"matchExpressions":[{}]},"tier":"Mandatory","mode":"Enforce"}`, `{"rules":[""],"subject":{}}`)
	}
	f.Fuzz(func(_ *testing.T, spec, bound, let string) {
		t, b, e := template(nil), binding("b"), exception()
		_ = json.Unmarshal([]byte(spec), &t.Spec)
		_ = json.Unmarshal([]byte(bound), &b.Spec)
		_ = json.Unmarshal([]byte(let), &e.Spec)
		t.Spec.Policy, t.Spec.Version = "p", "1.0.0"
		b.Spec.Policy = v1alpha1.PolicyVersion{Name: "p", Version: "1.0.0"}
		askEverything(compiled(model.Policies{Templates: []*v1alpha1.PolicyTemplate{t}, ClusterBindings: []*v1alpha1.ClusterPolicyBinding{b}, Exceptions: []*v1alpha1.PolicyException{e}}, model.Namespace{Name: "n"}))
	})
}

// Whoever has a namespace shares the operator with everybody else.
func TestPolicyBindingsOfANamespaceHaveSomeCostTogether(t *testing.T) {
	long, err := json.Marshal(strings.Split(strings.Repeat("a ", 400), " "))
	if err != nil {
		t.Fatal(err)
	}
	template := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "dear-1.0.0"}}
	template.Spec.Policy, template.Spec.Version = "dear", "1.0.0"
	template.Spec.Parameters = []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}}
	template.Spec.Constraints = []v1alpha1.Constraint{{
		Name: "dear", Subject: v1alpha1.SubjectRoute, Expression: "params.list.all(a, params.list.exists(b, a != b))", Message: "never",
	}}
	bound := v1alpha1.PolicyBindingSpec{
		Policy: v1alpha1.PolicyVersion{Name: "dear", Version: "1.0.0"}, Mode: v1alpha1.ModeEnforce,
		Parameters: []v1alpha1.ParameterValue{{Name: "list", Value: v1alpha1.JSON{Raw: long}}},
	}
	in := model.Input{Mesh: model.DefaultMesh(), Namespaces: []model.Namespace{{Name: "n"}, {Name: "m"}, {Name: "o", Labels: map[string]string{"dear": "yes"}}}}
	in.Policies.Templates = []*v1alpha1.PolicyTemplate{template}
	for _, name := range []string{"x", "y"} {
		in.Policies.Bindings = append(in.Policies.Bindings, &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Spec: bound})
	}
	in.Policies.Bindings = append(in.Policies.Bindings, &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "m", Name: "x"}, Spec: bound})
	wide := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "wide"}}
	wide.Spec.PolicyBindingSpec, wide.Spec.Tier = bound, v1alpha1.TierMandatory
	wide.Spec.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"dear": "yes"}}
	in.Policies.ClusterBindings = []*v1alpha1.ClusterPolicyBinding{wide}
	set := policy.Compile(model.NewSnapshot(in))
	// asked is of how many judgements of how many the cost was too much together.
	asked := func(namespace string, times int) (together, all int) {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a"}}
		app.Spec.Routes = []v1alpha1.Route{{}}
		at := origin(app)
		a := set.Application(app, at)
		for range times {
			for _, j := range a.JudgeRoute(policy.Route{Origin: at}) {
				all++
				if strings.Contains(j.Message, "all PolicyBindings of namespace "+namespace+" cost more than") {
					together++
				}
				if !j.Closes() {
					t.Fatalf("what cannot be told is let go: %+v", j)
				}
			}
		}
		return together, all
	}
	if together, all := asked("n", 40); all != 80 || together < 25 || together > 31 {
		t.Errorf("of %d questions that cost too much, %d were not asked any more", all, together)
	}
	if together, _ := asked("m", 10); together != 0 {
		t.Errorf("another namespace paid for it: %d", together)
	}
	if together, _ := asked("o", 60); together != 0 {
		t.Errorf("the cluster's own policies have some cost together: %d", together)
	}
}
