// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// rolled is a binding from 1.0.0 to 2.0.0 of a policy about names of Applications, in the
// stages dev and test. The namespaces dev, test and prod have these labels.
func rolled(mode v1alpha1.PolicyMode, holds ...string) (model.Input, *v1alpha1.ClusterPolicyBinding) {
	in := model.Input{Mesh: model.DefaultMesh()}
	for _, name := range []string{"dev", "test", "prod", "other"} {
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: name, Labels: map[string]string{"env": name}})
	}
	for version, name := range map[string]string{"1.0.0": "old", "2.0.0": "new"} {
		t := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "names-" + version}}
		t.Spec = v1alpha1.PolicyTemplateSpec{Policy: "names", Version: version, Title: "Names", Constraints: []v1alpha1.Constraint{
			{Name: v1alpha1.LabelName(name), Subject: v1alpha1.SubjectApplication, Expression: v1alpha1.Expression("!application.name.contains('" + name + "')"), Message: "no"},
		}}
		in.Policies.Templates = append(in.Policies.Templates, t)
	}
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "names"}}
	b.Spec = v1alpha1.ClusterPolicyBindingSpec{
		Tier:       v1alpha1.TierMandatory,
		Namespaces: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"other"}}}},
		PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
			Mode: mode, Policy: v1alpha1.PolicyVersion{Name: "names", Version: "2.0.0"},
		},
		Rollout: &v1alpha1.PolicyRolloutSpec{From: "1.0.0", Soak: metav1.Duration{Duration: 1}},
	}
	for _, stage := range []string{"dev", "test"} {
		b.Spec.Rollout.Stages = append(b.Spec.Rollout.Stages, v1alpha1.PolicyRolloutStage{
			Name: v1alpha1.LabelName(stage), Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"env": stage}},
		})
	}
	if holds != nil {
		b.Status.Rollout = &v1alpha1.PolicyRolloutStatus{Version: "2.0.0", From: "1.0.0", Holds: holds}
	}
	in.Policies.ClusterBindings = []*v1alpha1.ClusterPolicyBinding{b}
	return in, b
}

// judged are what is said of one Application in each namespace, of a name.
func judged(set *policy.Set, name string) (all []policy.Judgement, text map[string]string) {
	text = map[string]string{}
	for _, namespace := range []string{"dev", "test", "prod", "other"} {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		of := set.Application(app, model.Origin{Object: model.Reference{Kind: "Application", Namespace: namespace, Name: name}})
		if of == nil {
			continue
		}
		list := slices.Concat(of.Broken(), of.Judge())
		all = append(all, list...)
		var words []string
		for _, j := range list {
			if j.Binding.Held() {
				words = append(words, fmt.Sprintf("%s %s", j.Binding.Spec.Policy.Version, j.Reason()))
			}
		}
		text[namespace] = strings.Join(words, ", ")
	}
	return all, text
}

func TestEachStageIsHeldToItsVersion(t *testing.T) {
	const refusedByOld, refusedByNew, wouldBe = "1.0.0 PolicyViolated", "2.0.0 PolicyViolated", "2.0.0 PolicyWouldRefuse"
	for name, test := range map[string]struct {
		holds           []string
		dev, test, prod string
	}{
		"at first":                {nil, refusedByOld + ", " + wouldBe, refusedByOld, refusedByOld},
		"dev holds":               {[]string{"dev"}, refusedByNew, refusedByOld + ", " + wouldBe, refusedByOld},
		"dev and test hold":       {[]string{"dev", "test"}, refusedByNew, refusedByNew, refusedByOld + ", " + wouldBe},
		"all hold":                {[]string{"dev", "test", "rest"}, refusedByNew, refusedByNew, refusedByNew},
		"test cannot hold alone":  {[]string{"test", "rest"}, refusedByOld + ", " + wouldBe, refusedByOld, refusedByOld},
		"a stage that is unknown": {[]string{"qa"}, refusedByOld + ", " + wouldBe, refusedByOld, refusedByOld},
	} {
		in, b := rolled(v1alpha1.ModeEnforce, test.holds...)
		_, got := judged(policy.Compile(model.NewSnapshot(in)), "old-new")
		if _, about := got["other"]; about || got["dev"] != test.dev || got["test"] != test.test || got["prod"] != test.prod {
			t.Errorf("%s: %v", name, got)
		}
		// Without a version before, the new one alone is there.
		b.Spec.Rollout.From = ""
		if b.Status.Rollout != nil {
			b.Status.Rollout.From = ""
		}
		_, got = judged(policy.Compile(model.NewSnapshot(in)), "old-new")
		for namespace, want := range map[string]string{"dev": test.dev, "test": test.test, "prod": test.prod} {
			if want = strings.TrimPrefix(strings.TrimPrefix(want, refusedByOld), ", "); got[namespace] != want {
				t.Errorf("%s, from nothing: %v", name, got)
			}
		}
	}
}

func TestWhatIsTriedIsNeverStricterThanItsBinding(t *testing.T) {
	for mode, want := range map[v1alpha1.PolicyMode]v1alpha1.PolicyMode{
		v1alpha1.ModeEnforce: v1alpha1.ModeShadow, v1alpha1.ModeShadow: v1alpha1.ModeShadow, v1alpha1.ModeAudit: v1alpha1.ModeAudit,
	} {
		in, _ := rolled(mode)
		parts := policy.Compile(model.NewSnapshot(in)).Bindings[0].Parts()
		var got []string
		for _, p := range parts {
			got = append(got, p.Spec.Policy.Version+" "+string(p.Spec.Mode))
		}
		if list := fmt.Sprintf("[2.0.0 %s 1.0.0 %s 2.0.0 %s]", mode, mode, want); fmt.Sprint(got) != list {
			t.Errorf("%s: %v, want %s", mode, got, list)
		}
	}
}

func TestTroubleIsWhatTheNewVersionRefusesAndTheOldOneDoesNot(t *testing.T) {
	for name, test := range map[string]struct {
		holds []string
		app   string
		want  []string
	}{
		"both let it":                     {nil, "web", nil},
		"the old one alone refuses":       {nil, "old", nil},
		"both refuse":                     {nil, "old-new", nil},
		"the new one refuses where tried": {nil, "new", []string{"Application dev/new (new)"}},
		"in stages that hold, too":        {[]string{"dev"}, "new", []string{"Application dev/new (new)", "Application test/new (new)"}},
		"both refuse in all stages":       {[]string{"dev", "test"}, "old-new", nil},
		"nothing is left to be stopped":   {[]string{"dev", "test", "rest"}, "new", nil},
	} {
		in, _ := rolled(v1alpha1.ModeEnforce, test.holds...)
		set := policy.Compile(model.NewSnapshot(in))
		all, _ := judged(set, test.app)
		if got := set.Bindings[0].Troubles(all); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestAVersionThatIsBrokenStopsItsRolloutAndAVersionBeforeThatIsBrokenHidesNothing(t *testing.T) {
	in, _ := rolled(v1alpha1.ModeEnforce, "dev")
	for _, tmpl := range in.Policies.Templates {
		tmpl.Spec.Constraints[0].Expression += " && nothing"
	}
	set := policy.Compile(model.NewSnapshot(in))
	all, said := judged(set, "web")
	want := map[string]string{"dev": "2.0.0 PolicyBroken", "test": "1.0.0 PolicyBroken, 2.0.0 PolicyWouldRefuse", "prod": "1.0.0 PolicyBroken"}
	for namespace := range want {
		if said[namespace] != want[namespace] {
			t.Errorf("%s: %s", namespace, said[namespace])
		}
	}
	if got := set.Bindings[0].Troubles(all); len(got) != 1 || !strings.Contains(got[0], "PolicyTemplate names-2.0.0 cannot be used") {
		t.Errorf("%v", got)
	}

	in, _ = rolled(v1alpha1.ModeEnforce)
	in.Policies.ClusterBindings[0].Spec.Rollout.From = "0.9.0"
	set = policy.Compile(model.NewSnapshot(in))
	all, _ = judged(set, "new")
	if got := set.Bindings[0].Troubles(all); fmt.Sprint(got) != "[Application dev/new (new)]" {
		t.Errorf("%v", got)
	}
	i := slices.IndexFunc(set.Findings, func(f model.Finding) bool { return f.Reason == "TemplateNotFound" })
	if i < 0 || set.Findings[i].Field != "spec.rollout.from" || !strings.Contains(set.Findings[i].Message, "names-0.9.0") {
		t.Errorf("%+v", set.Findings)
	}
}

func TestParametersOfABindingFitBothVersions(t *testing.T) {
	in, b := rolled(v1alpha1.ModeEnforce)
	for _, tmpl := range in.Policies.Templates {
		if tmpl.Spec.Version == "2.0.0" {
			tmpl.Spec.Parameters = []v1alpha1.PolicyParameter{{Name: "more", Type: v1alpha1.ParameterString}}
		}
	}
	b.Spec.Parameters = []v1alpha1.ParameterValue{{Name: "more", Value: v1alpha1.JSON{Raw: []byte(`"x"`)}}}
	set := policy.Compile(model.NewSnapshot(in))
	if len(set.Findings) != 1 || set.Findings[0].Reason != "ParameterUnknown" || !strings.Contains(set.Findings[0].Message, "policy names 1.0.0 has no parameter more") {
		t.Errorf("%+v", set.Findings)
	}
}

// An assertion closes nothing, so that there is more to be lost.
func TestWhatTheOldVersionOnlyAssertsHidesNoTrouble(t *testing.T) {
	in, _ := rolled(v1alpha1.ModeEnforce)
	for _, tmpl := range in.Policies.Templates {
		if tmpl.Spec.Version == "1.0.0" {
			tmpl.Spec.Assertions = []v1alpha1.Assertion{{
				Name: "outside", From: v1alpha1.AssertionClient{Internet: &v1alpha1.InternetClient{}},
				Request: v1alpha1.AssertionRequest{Paths: "['/admin']"}, Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}, Message: "it is open",
			}}
		}
	}
	set := policy.Compile(model.NewSnapshot(in))
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "new"}}
	of := set.Application(app, model.Origin{Object: model.Reference{Kind: "Application", Namespace: "dev", Name: "new"}})
	all := of.Judge()
	for _, a := range of.Assertions() {
		all = append(all, a.Judge())
	}
	if got := set.Bindings[0].Troubles(all); fmt.Sprint(got) != "[Application dev/new (new)]" {
		t.Errorf("%v", got)
	}
}
