// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

func template(parameters []v1alpha1.PolicyParameter, constraints ...v1alpha1.Constraint) *v1alpha1.PolicyTemplate {
	t := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "p-1.0.0"}}
	t.Spec = v1alpha1.PolicyTemplateSpec{Policy: "p", Version: "1.0.0", Parameters: parameters, Constraints: constraints, Remediation: v1alpha1.Remediation{Text: "mend it"}}
	return t
}

func constraint(subject v1alpha1.PolicySubject, text v1alpha1.Expression) v1alpha1.Constraint {
	return v1alpha1.Constraint{Name: "rule", Subject: subject, Expression: text, Message: "it is wrong"}
}

func binding(name string) *v1alpha1.ClusterPolicyBinding {
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	b.Spec.Tier, b.Spec.Mode = v1alpha1.TierMandatory, v1alpha1.ModeEnforce
	b.Spec.Policy = v1alpha1.PolicyVersion{Name: "p", Version: "1.0.0"}
	return b
}

func application(namespace, name string, labels map[string]string) *v1alpha1.Application {
	return &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
}

func compiled(p model.Policies, namespaces ...model.Namespace) *policy.Set {
	return policy.Compile(model.NewSnapshot(model.Input{Mesh: model.DefaultMesh(), Policies: p, Namespaces: namespaces, At: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}))
}

func origin(a *v1alpha1.Application) model.Origin {
	return model.Origin{Object: model.Reference{Kind: "Application", Namespace: a.Namespace, Name: a.Name}, Layer: model.LayerApplication}
}

func findings(s *policy.Set) []string {
	var out []string
	for _, f := range s.Findings {
		out = append(out, f.Reason)
	}
	return out
}

func TestParametersAreOfTheirTypeOrBreakTheBinding(t *testing.T) {
	for _, c := range []struct {
		kind  v1alpha1.ParameterType
		value string
		// oneOf is empty for everything.
		oneOf []string
		// holds is an expression that must be true; empty where the value is refused.
		holds v1alpha1.Expression
	}{
		{v1alpha1.ParameterString, `"a"`, nil, "params.x == 'a'"},
		{v1alpha1.ParameterString, `""`, nil, "params.x == ''"},
		{v1alpha1.ParameterString, `"a"`, []string{"a", "b"}, "params.x == 'a'"},
		{v1alpha1.ParameterString, `"c"`, []string{"a", "b"}, ""},
		{v1alpha1.ParameterString, `1`, nil, ""},
		{v1alpha1.ParameterString, `null`, nil, ""},
		{v1alpha1.ParameterString, ` null `, nil, ""},
		{v1alpha1.ParameterString, ``, nil, ""},
		{v1alpha1.ParameterStrings, `["a","b"]`, nil, "params.x == ['a', 'b']"},
		{v1alpha1.ParameterStrings, `[]`, nil, "params.x.size() == 0"},
		{v1alpha1.ParameterStrings, `["a","c"]`, []string{"a", "b"}, ""},
		{v1alpha1.ParameterStrings, `["a",null]`, nil, ""},
		{v1alpha1.ParameterStrings, `"a"`, nil, ""},
		{v1alpha1.ParameterStrings, `null`, nil, ""},
		{v1alpha1.ParameterInteger, `7`, nil, "params.x == 7"},
		{v1alpha1.ParameterInteger, `-7`, nil, "params.x == -7"},
		{v1alpha1.ParameterInteger, `7.5`, nil, ""},
		{v1alpha1.ParameterInteger, `1e400`, nil, ""},
		{v1alpha1.ParameterInteger, `NaN`, nil, ""},
		{v1alpha1.ParameterInteger, `99999999999999999999`, nil, ""},
		{v1alpha1.ParameterInteger, `"7"`, nil, ""},
		{v1alpha1.ParameterInteger, `null`, nil, ""},
		{v1alpha1.ParameterBoolean, `true`, nil, "params.x"},
		{v1alpha1.ParameterBoolean, `"true"`, nil, ""},
		{v1alpha1.ParameterBoolean, `null`, nil, ""},
		{v1alpha1.ParameterDuration, `"90s"`, nil, "params.x == duration('1m30s')"},
		{v1alpha1.ParameterDuration, `"soon"`, nil, ""},
		{v1alpha1.ParameterDuration, `90`, nil, ""},
		{v1alpha1.ParameterDuration, `null`, nil, ""},
		{v1alpha1.ParameterLabels, `{"a":"b"}`, nil, "params.x['a'] == 'b'"},
		{v1alpha1.ParameterLabels, `{"a":null}`, nil, ""},
		{v1alpha1.ParameterLabels, `{"a":1}`, nil, ""},
		{v1alpha1.ParameterLabels, `null`, nil, ""},
		{"Number", `1`, nil, ""},
	} {
		holds := c.holds
		if holds == "" {
			holds = "true"
		}
		b := binding("b")
		b.Spec.Parameters = []v1alpha1.ParameterValue{{Name: "x", Value: v1alpha1.JSON{Raw: []byte(c.value)}}}
		s := compiled(model.Policies{
			Templates:       []*v1alpha1.PolicyTemplate{template([]v1alpha1.PolicyParameter{{Name: "x", Type: c.kind, OneOf: c.oneOf}}, constraint(v1alpha1.SubjectApplication, holds))},
			ClusterBindings: []*v1alpha1.ClusterPolicyBinding{b},
		})
		app := application("n", "a", nil)
		asked := s.Application(app, origin(app))
		if c.holds == "" {
			if s.Bindings[0].Broken == "" || len(asked.Broken()) != 1 || !asked.Broken()[0].Closes() {
				t.Errorf("%s takes %s (%v)", c.kind, c.value, findings(s))
			}
			continue
		}
		if got := asked.Judge(); len(got) > 0 || s.Bindings[0].Broken != "" {
			t.Errorf("%s %s: %+v, %v", c.kind, c.value, got, s.Findings)
		}
	}
}

func TestWhatIsNotSetHasItsDefaultOrIsEmpty(t *testing.T) {
	parameters := []v1alpha1.PolicyParameter{
		{Name: "text", Type: v1alpha1.ParameterString}, {Name: "texts", Type: v1alpha1.ParameterStrings}, {Name: "number", Type: v1alpha1.ParameterInteger},
		{Name: "flag", Type: v1alpha1.ParameterBoolean}, {Name: "time", Type: v1alpha1.ParameterDuration}, {Name: "labels", Type: v1alpha1.ParameterLabels},
		{Name: "seven", Type: v1alpha1.ParameterInteger, Default: &v1alpha1.JSON{Raw: []byte("7")}},
	}
	s := compiled(model.Policies{
		Templates: []*v1alpha1.PolicyTemplate{template(parameters, constraint(v1alpha1.SubjectApplication,
			"params.text == '' && params.texts.size() == 0 && params.number == 0 && !params.flag && params.time == duration('0s') && params.labels.size() == 0 && params.seven == 7"))},
		ClusterBindings: []*v1alpha1.ClusterPolicyBinding{binding("b")},
	})
	app := application("n", "a", nil)
	if got := s.Application(app, origin(app)).Judge(); len(got) > 0 || len(s.Findings) > 0 {
		t.Errorf("%+v %+v", got, s.Findings)
	}
}

func exception() *v1alpha1.PolicyException {
	return &v1alpha1.PolicyException{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "e"},
		Spec: v1alpha1.PolicyExceptionSpec{
			Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: "b"}, Rules: []v1alpha1.LabelName{"r"},
			Subject: v1alpha1.ExceptionSubject{Application: "a", Route: "x", SecureIngress: "s"}, Reason: "because",
			Expires: metav1.NewTime(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)), Approval: &v1alpha1.ExceptionApproval{By: "me", Of: "that"},
		},
	}
}

// TestAnApprovalIsOfEveryField changes each field in turn, found by reflection, so that a
// field that is added later is looked at, too.
func TestAnApprovalIsOfEveryField(t *testing.T) {
	first, err := policy.Digest(exception())
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	var walk func(path []int, of reflect.Type)
	walk = func(path []int, of reflect.Type) {
		for i := range of.NumField() {
			at := append(slices.Clone(path), i)
			field := of.Field(i)
			if field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[metav1.Time]() {
				walk(at, field.Type)
				continue
			}
			e := exception()
			v := reflect.ValueOf(&e.Spec).Elem().FieldByIndex(at)
			switch {
			case field.Name == "Approval":
				v.SetZero()
			case v.Kind() == reflect.String:
				v.SetString(v.String() + "x")
			default:
				v.SetZero()
			}
			changed++
			got, err := policy.Digest(e)
			if err != nil {
				t.Fatal(err)
			}
			if same := got == first; same != (field.Name == "Approval") {
				t.Errorf("the digest with another %s: the same %v", field.Name, same)
			}
		}
	}
	walk(nil, reflect.TypeFor[v1alpha1.PolicyExceptionSpec]())
	if changed < 9 {
		t.Errorf("only %d fields were changed", changed)
	}
	for name, change := range map[string]func(*v1alpha1.PolicyException){
		"namespace": func(e *v1alpha1.PolicyException) { e.Namespace = "m" },
		"name":      func(e *v1alpha1.PolicyException) { e.Name = "f" },
	} {
		e := exception()
		change(e)
		if got, _ := policy.Digest(e); got == first {
			t.Errorf("an approval holds for another %s", name)
		}
	}
	if e := exception(); e.Spec.Approval == nil {
		t.Error("digesting took the approval away")
	}
}

func TestABindingIsAboutWhatItsSelectorsSelect(t *testing.T) {
	namespaces := []model.Namespace{{Name: "n", Labels: map[string]string{"env": "test"}}, {Name: "m"}}
	red := map[string]string{"team": "red"}
	for name, c := range map[string]struct {
		change  func(*v1alpha1.ClusterPolicyBinding)
		about   []string
		trouble string
	}{
		"none is everything": {func(*v1alpha1.ClusterPolicyBinding) {}, []string{"m/b", "n/a", "unknown/c"}, ""},
		"an empty one, too":  {func(b *v1alpha1.ClusterPolicyBinding) { b.Spec.Namespaces = &metav1.LabelSelector{} }, []string{"m/b", "n/a", "unknown/c"}, ""},
		"by label of a namespace": {func(b *v1alpha1.ClusterPolicyBinding) {
			b.Spec.Namespaces = metav1.SetAsLabelSelector(map[string]string{"env": "test"})
		}, []string{"n/a"}, ""},
		"by what is not there": {func(b *v1alpha1.ClusterPolicyBinding) {
			b.Spec.Namespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: metav1.LabelSelectorOpDoesNotExist}}}
		}, []string{"m/b", "unknown/c"}, ""},
		"by label of an Application": {func(b *v1alpha1.ClusterPolicyBinding) { b.Spec.Applications = metav1.SetAsLabelSelector(red) }, []string{"m/b"}, ""},
		"one that cannot be read closes everything": {func(b *v1alpha1.ClusterPolicyBinding) {
			b.Spec.Namespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Like", Values: []string{"t*"}}}}
		}, []string{"m/b", "n/a", "unknown/c"}, "SelectorInvalid"},
	} {
		b := binding("b")
		c.change(b)
		s := compiled(model.Policies{Templates: []*v1alpha1.PolicyTemplate{template(nil, constraint(v1alpha1.SubjectApplication, "false"))}, ClusterBindings: []*v1alpha1.ClusterPolicyBinding{b}}, namespaces...)
		var about []string
		for _, app := range []*v1alpha1.Application{application("m", "b", red), application("n", "a", nil), application("unknown", "c", nil)} {
			a := s.Application(app, origin(app))
			if a == nil {
				continue
			}
			list := append(a.Broken(), a.Judge()...)
			if len(list) != 1 || !list[0].Closes() {
				t.Errorf("%s: %s/%s: %+v", name, app.Namespace, app.Name, list)
			}
			about = append(about, app.Namespace+"/"+app.Name)
		}
		if !slices.Equal(about, c.about) || strings.Join(findings(s), " ") != c.trouble {
			t.Errorf("%s: about %v, findings %v", name, about, findings(s))
		}
	}
}

func TestAPolicyBindingOfANamespaceClosesThereAndNowhereElse(t *testing.T) {
	b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "b"}, Spec: binding("b").Spec.PolicyBindingSpec}
	s := compiled(model.Policies{Templates: []*v1alpha1.PolicyTemplate{template(nil, constraint(v1alpha1.SubjectApplication, "false"))}, Bindings: []*v1alpha1.PolicyBinding{b}})
	if !s.Bindings[0].Closes() || s.Bindings[0].Origin.Layer != model.LayerNamespace {
		t.Errorf("closes %v, layer %s", s.Bindings[0].Closes(), s.Bindings[0].Origin.Layer)
	}
	here, there := application("n", "a", nil), application("m", "a", nil)
	if got := s.Application(here, origin(here)).Judge(); len(got) != 1 || !got[0].Closes() {
		t.Errorf("%+v", got)
	}
	if s.Application(there, origin(there)) != nil {
		t.Error("it is about an Application of another namespace")
	}
	for _, mode := range []v1alpha1.PolicyMode{v1alpha1.ModeShadow, v1alpha1.ModeAudit} {
		b.Spec.Mode = mode
		if s.Bindings[0].Closes() {
			t.Errorf("it closes in mode %s", mode)
		}
	}
}

func TestARollupCountsEachObjectOnceByTheWorst(t *testing.T) {
	strict, loose := binding("strict"), binding("loose")
	loose.Spec.Policy.Name = "q"
	other := template(nil, constraint(v1alpha1.SubjectApplication, "true"))
	other.Name, other.Spec.Policy = "q-1.0.0", "q"
	s := compiled(model.Policies{
		Templates: []*v1alpha1.PolicyTemplate{
			template(nil, constraint(v1alpha1.SubjectApplication, "application.name != 'bad' && (application.name != 'odd' || application.labels['none'] == '')")), other,
		},
		ClusterBindings: []*v1alpha1.ClusterPolicyBinding{strict, loose},
	})
	for _, name := range []string{"bad", "good", "fine", "odd"} {
		app := application("n", name, nil)
		s.Application(app, origin(app)).Judge()
	}
	if got, want := policy.Rollup(s.Bindings), (v1alpha1.PolicyRollup{Applications: 4, Passing: 2, Failing: 1, Unknown: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := policy.Rollup(nil); got != (v1alpha1.PolicyRollup{}) {
		t.Errorf("of nothing: %+v", got)
	}
	var names []string
	for _, ref := range s.Bindings[0].Objects() {
		names = append(names, ref.Name)
	}
	if !slices.Equal(names, []string{"bad", "fine", "good", "odd"}) {
		t.Errorf("not in order: %v", names)
	}
}

func TestAnExceptionForWhatIsNotThereIsTold(t *testing.T) {
	app := application("n", "a", nil)
	app.Spec.Routes = []v1alpha1.Route{{Name: "x"}}
	for name, c := range map[string]struct {
		subject v1alpha1.ExceptionSubject
		field   string
	}{
		"an Application":                 {v1alpha1.ExceptionSubject{Application: "a"}, ""},
		"a route":                        {v1alpha1.ExceptionSubject{Application: "a", Route: "x"}, ""},
		"everything of the namespace":    {v1alpha1.ExceptionSubject{}, ""},
		"an Application that is not":     {v1alpha1.ExceptionSubject{Application: "b"}, "spec.subject.application"},
		"a route that is not":            {v1alpha1.ExceptionSubject{Application: "a", Route: "y"}, "spec.subject.route"},
		"a SecureIngress that is not":    {v1alpha1.ExceptionSubject{SecureIngress: "a"}, "spec.subject.secureIngress"},
		"a route of nobody's is the app": {v1alpha1.ExceptionSubject{Application: "b", Route: "x"}, "spec.subject.application"},
	} {
		e := exception()
		e.Spec.Subject = c.subject
		digest, err := policy.Digest(e)
		if err != nil {
			t.Fatal(err)
		}
		e.Spec.Approval.Of = digest
		s := policy.Compile(model.NewSnapshot(model.Input{
			Mesh: model.DefaultMesh(), Namespaces: []model.Namespace{{Name: "n"}}, Applications: []*v1alpha1.Application{app}, At: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
			Policies: model.Policies{
				Templates:       []*v1alpha1.PolicyTemplate{template(nil, constraint(v1alpha1.SubjectApplication, "true"))},
				ClusterBindings: []*v1alpha1.ClusterPolicyBinding{binding("b")}, Exceptions: []*v1alpha1.PolicyException{e},
			},
		}))
		var fields []string
		for _, f := range s.Findings {
			if f.Reason == "SubjectNotFound" {
				fields = append(fields, f.Field)
			}
		}
		if want := slices.DeleteFunc([]string{c.field}, func(s string) bool { return s == "" }); !slices.Equal(fields, want) || !s.Exceptions[0].InForce() {
			t.Errorf("%s: %v, want %v; all: %+v", name, fields, want, s.Findings)
		}
	}
}
