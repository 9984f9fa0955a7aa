// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// How many worlds with policies an ordinary test run makes, and how many requests of each.
const (
	policyWorlds   = 40
	policyRequests = 120
)

func TestThePoliciesOfRandomWorldsCanBeApplied(t *testing.T) {
	in := newWorld(1).platform()
	in.Policies.Templates = templates()
	set := policy.Compile(model.NewSnapshot(in))
	if len(set.Findings) != 1 || set.Findings[0].Object.Name != "misspelt-1.0.0" {
		t.Errorf("want a finding about the misspelt template alone: %+v", set.Findings)
	}
}

func enforced() v1alpha1.PolicyMode { return v1alpha1.ModeEnforce }

// trial is what two worlds do with the same requests.
type trial struct{ narrowed, widened int }

// compareWorlds sends requests to both, and returns how many one of them alone lets in. What
// is let in although somebody else's ALLOW policy is there counts, too.
func compareWorlds(t *testing.T, w world, before, after model.Input) (out trial, example string) {
	t.Helper()
	var proxies [2]map[string]*proxy
	for i, in := range []model.Input{before, after} {
		outcome := compile.Compile(model.NewSnapshot(in))
		checkObjects(t, outcome)
		proxies[i] = make(map[string]*proxy)
		for _, service := range in.Services {
			proxies[i][service.Ref.Namespace+"/"+service.Ref.Name] = newProxy(outcome, service.Ref.Namespace, service.Selector)
		}
	}
	count := func(was, is bool, r request, how string) {
		switch {
		case was && !is:
			out.narrowed++
		case !was && is:
			out.widened++
			text, _ := yaml.Marshal(map[string]any{"request": r.host + " " + r.method + " " + r.path, "peer": r.peer, "token": r.token, "how": how})
			example = string(text)
		}
	}
	for range policyRequests {
		r := w.request()
		w.aimedAt(&r, before)
		if r.token != nil && w.chance(40) {
			r.token.scopes = some(w, 1, "s0", "s1")
		}
		if w.chance(50) {
			gateway, port := pick(w, "g0", "g0", "g1"), pick(w, int32(443), 443, 443, 80)
			_, was, _ := fromOutside(proxies[0], r, gateway, port)
			_, is, how := fromOutside(proxies[1], r, gateway, port)
			count(was, is, r, how)
			continue
		}
		app := pick(w, before.Applications...)
		r.port, r.peer = pick(w, app.Spec.Ports...).Port+7920, w.peer()
		name := app.Namespace + "/" + app.Spec.Service
		was, _ := proxies[0][name].admit(&r)
		is, how := proxies[1][name].admit(&r)
		count(was, is, r, how)
		count(!proxies[0][name].denies(&r), !proxies[1][name].denies(&r), r, "an ALLOW policy of somebody else")
	}
	return out, example
}

func describePolicies(t *testing.T, in model.Input) string {
	t.Helper()
	var b strings.Builder
	for _, o := range in.Policies.ClusterBindings {
		text, _ := yaml.Marshal(o)
		b.WriteString("---\n" + string(text))
	}
	for _, o := range in.Policies.Bindings {
		text, _ := yaml.Marshal(o)
		b.WriteString("---\n" + string(text))
	}
	for _, o := range in.Policies.Exceptions {
		text, _ := yaml.Marshal(o)
		b.WriteString("---\n" + string(text))
	}
	return describe(t, in) + b.String()
}

func TestAnotherMandatoryPolicyNeverLetsARequestIn(t *testing.T) {
	oneMoreNeverLetsIn(t, func(world, *v1alpha1.ClusterPolicyBinding) {})
}

// oneMoreNeverLetsIn binds one more Mandatory policy in many worlds, as change has it.
func oneMoreNeverLetsIn(t *testing.T, change func(world, *v1alpha1.ClusterPolicyBinding)) {
	t.Helper()
	var all trial
	for seed := range uint64(3 * policyWorlds) {
		w := newWorld(seed)
		before := w.platform()
		w.policies(t, &before, w.IntN(3), enforced)
		after := before
		more := w.clusterBinding(pick(w, "a-more", "z-more"), v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
		change(w, more)
		after.Policies.ClusterBindings = append(slices.Clone(before.Policies.ClusterBindings), more)
		got, example := compareWorlds(t, w, before, after)
		if got.widened > 0 {
			t.Fatalf("seed %d: with %s bound, a request gets in\n%s\n%s", seed, more.Spec.Policy.Name, example, describePolicies(t, after))
		}
		all.narrowed += got.narrowed
	}
	if all.narrowed < policyWorlds {
		t.Errorf("%d requests were refused by one more policy: the policies hardly do anything", all.narrowed)
	}
}

func TestTakingAnExceptionAwayNeverLetsARequestIn(t *testing.T) {
	var all trial
	for seed := range uint64(4 * policyWorlds) {
		w := newWorld(seed)
		before := w.platform()
		w.policies(t, &before, 2, enforced)
		set := compile.Compile(model.NewSnapshot(before)).Policies
		k := slices.IndexFunc(set.Exceptions, func(e *policy.Exception) bool { return len(e.Exempts) > 0 })
		if k < 0 {
			continue
		}
		after := before
		i := slices.IndexFunc(before.Policies.Exceptions, func(e *v1alpha1.PolicyException) bool {
			return e.Namespace == set.Exceptions[k].Ref.Namespace && e.Name == set.Exceptions[k].Ref.Name
		})
		after.Policies.Exceptions = slices.Delete(slices.Clone(before.Policies.Exceptions), i, i+1)
		got, example := compareWorlds(t, w, before, after)
		if got.widened > 0 {
			t.Fatalf("seed %d: without %s, a request gets in\n%s\n%s", seed, before.Policies.Exceptions[i].Name, example, describePolicies(t, before))
		}
		all.narrowed += got.narrowed
	}
	if all.narrowed == 0 {
		t.Error("no exception let anything go: nothing was shown")
	}
}

func TestPoliciesDoNotDependOnTheirOrder(t *testing.T) {
	modes := []v1alpha1.PolicyMode{v1alpha1.ModeEnforce, v1alpha1.ModeShadow, v1alpha1.ModeAudit}
	for seed := range uint64(20) {
		w := newWorld(seed)
		in := w.platform()
		w.policies(t, &in, 6, func() v1alpha1.PolicyMode { return pick(w, modes...) })
		for _, b := range in.Policies.ClusterBindings {
			if w.chance(50) {
				w.rollOut(b, pick(w, "", "1.0.0"), w.IntN(4))
			}
		}
		first := compile.Compile(model.NewSnapshot(in))
		shuffle(w, in.Applications)
		shuffle(w, in.SecureIngresses)
		shuffle(w, in.Namespaces)
		shuffle(w, in.Policies.Templates)
		shuffle(w, in.Policies.ClusterBindings)
		shuffle(w, in.Policies.Bindings)
		shuffle(w, in.Policies.Exceptions)
		again := compile.Compile(model.NewSnapshot(in))
		if !bytes.Equal(objectsText(t, first), objectsText(t, again)) || !slices.Equal(first.Findings, again.Findings) {
			t.Fatalf("seed %d: another order, another outcome", seed)
		}
		if a, b := judgementsText(first), judgementsText(again); !slices.Equal(a, b) {
			t.Fatalf("seed %d: another order, other judgements\n%v\n%v", seed, a, b)
		}
		for _, e := range first.Policies.Exceptions {
			if sorted := slices.Compact(slices.Sorted(slices.Values(e.Exempts))); len(sorted) != len(e.Exempts) {
				t.Errorf("seed %d: %s lets something go twice: %v", seed, e.Ref, e.Exempts)
			}
		}
	}
}

func TestARolloutNeverLetsARequestIn(t *testing.T) {
	oneMoreNeverLetsIn(t, func(w world, more *v1alpha1.ClusterPolicyBinding) { w.rollOut(more, pick(w, "", "1.0.0"), w.IntN(4)) })
}

// What is tried leaves everything as it is without it, and a rollout that is complete is
// the new version.
func TestARolloutIsTheOldVersionAtFirstAndTheNewOneAtLast(t *testing.T) {
	tried, other := 0, 0
	for seed := range uint64(policyWorlds) {
		w := newWorld(seed)
		in := w.platform()
		w.policies(t, &in, w.IntN(3), enforced)
		b := w.clusterBinding("b-rolled", pick(w, v1alpha1.TierMandatory, v1alpha1.TierMandatory, v1alpha1.TierDefault), v1alpha1.ModeEnforce)
		w.exception(t, &in, "ClusterPolicyBinding", b.Name, pick(w, "n0", "n1", "edge"))
		others := in.Policies.ClusterBindings
		texts := func(change func(*v1alpha1.ClusterPolicyBinding)) map[model.Reference]string {
			in.Policies.ClusterBindings = others
			if change != nil {
				b := b.DeepCopy()
				change(b)
				in.Policies.ClusterBindings = append(slices.Clone(others), b)
			}
			return textsOf(t, compile.Compile(model.NewSnapshot(in)), "")
		}
		nothing, old := texts(nil), texts(func(*v1alpha1.ClusterPolicyBinding) {})
		last := texts(func(b *v1alpha1.ClusterPolicyBinding) { b.Spec.Policy.Version = "2.0.0" })
		for from, want := range map[string]map[model.Reference]string{"": nothing, "1.0.0": old} {
			first := texts(func(b *v1alpha1.ClusterPolicyBinding) { w.rollOut(b, from, 0) })
			for ref := range first {
				if strings.HasSuffix(ref.Name, "-shadow") {
					delete(first, ref)
					tried++
				}
			}
			if !maps.Equal(want, first) {
				t.Fatalf("seed %d: a version that is only tried, after %q, changes what is generated\n%s", seed, from, describePolicies(t, in))
			}
			if done := texts(func(b *v1alpha1.ClusterPolicyBinding) { w.rollOut(b, from, 3) }); !maps.Equal(last, done) {
				t.Fatalf("seed %d: a rollout that is complete, after %q, is not its version\n%s", seed, from, describePolicies(t, in))
			}
		}
		if !maps.Equal(old, last) {
			other++
		}
	}
	if tried == 0 || other == 0 {
		t.Errorf("%d dry runs and %d worlds in which versions differ: nothing was shown", tried, other)
	}
}

func findingsOf(o *compile.Outcome) string { return string(findingsText(o.Findings)) }

func judgementsText(o *compile.Outcome) []string {
	var out []string
	for _, j := range o.Judgements {
		out = append(out, j.Binding.Ref.String()+" "+j.Rule+" "+j.Subject.String()+" "+string(j.Outcome)+" "+j.Message)
	}
	return out
}

func TestWhatIsOnlyTriedChangesNothingButTheDryRun(t *testing.T) {
	tried, said := 0, 0
	for seed := range uint64(policyWorlds) {
		w := newWorld(seed)
		plain := w.platform()
		with := plain
		w.policies(t, &with, 5, func() v1alpha1.PolicyMode { return pick(w, v1alpha1.ModeShadow, v1alpha1.ModeAudit) })
		outcome := compile.Compile(model.NewSnapshot(with))
		want, got := textsOf(t, compile.Compile(model.NewSnapshot(plain)), ""), textsOf(t, outcome, "")
		for ref := range got {
			if strings.HasSuffix(ref.Name, "-shadow") && want[ref] == "" {
				delete(got, ref)
				tried++
			}
		}
		if !maps.Equal(want, got) {
			t.Fatalf("seed %d: policies that are only tried change what is generated\n%s", seed, describePolicies(t, with))
		}
		for _, f := range outcome.Findings {
			if f.Reason == "PolicyWouldRefuse" || f.Reason == "PolicyWouldOverride" {
				said++
			}
			if f.Severity == model.SeverityError && strings.HasPrefix(f.Reason, "Policy") && (f.Object.Kind == "Application" || f.Object.Kind == "SecureIngress") {
				t.Fatalf("seed %d: %+v", seed, f)
			}
		}
	}
	if tried == 0 || said == 0 {
		t.Errorf("%d dry runs and %d warnings: nothing was shown", tried, said)
	}
}

// A policy that finds everything as it has it may as well not be there.
func TestAConstraintThatHoldsEverywhereChangesNothing(t *testing.T) {
	held := 0
	for seed := range uint64(policyWorlds) {
		w := newWorld(seed)
		in := w.platform()
		w.policies(t, &in, 4, enforced)
		in.Policies.Exceptions = nil
		outcome := compile.Compile(model.NewSnapshot(in))
		for i, b := range in.Policies.ClusterBindings {
			silent := strings.HasPrefix(string(b.Spec.Policy.Name), "closing") &&
				!slices.ContainsFunc(outcome.Judgements, func(j policy.Judgement) bool { return j.Binding.Ref.Name == b.Name && j.Binding.Ref.Namespace == "" })
			if !silent {
				continue
			}
			held++
			without := in
			without.Policies.ClusterBindings = slices.Delete(slices.Clone(in.Policies.ClusterBindings), i, i+1)
			again := compile.Compile(model.NewSnapshot(without))
			if !bytes.Equal(objectsText(t, outcome), objectsText(t, again)) || !slices.Equal(outcome.Findings, again.Findings) {
				t.Fatalf("seed %d: %s holds everywhere, and without it something changes: %s\n%s", seed, b.Name,
					firstDifference(string(objectsText(t, outcome))+findingsOf(outcome), string(objectsText(t, again))+findingsOf(again)), describePolicies(t, in))
			}
		}
	}
	if held == 0 {
		t.Error("no policy held everywhere: nothing was shown")
	}
}

// A refused exposure does what one does that was never stated: it frees its hosts and its
// paths, too.
func TestARefusedExposureIsAsIfItWereNotStated(t *testing.T) {
	refused := 0
	for seed := range uint64(policyWorlds) {
		w := newWorld(seed)
		in := w.platform()
		without := in
		without.Applications = nil
		for _, a := range in.Applications {
			if a.Name == "app0" && len(a.Spec.Exposures) > 0 {
				refused++
				a = a.DeepCopy()
				a.Spec.Exposures = nil
			}
			without.Applications = append(without.Applications, a)
		}
		with := in
		with.Policies.Templates = []*v1alpha1.PolicyTemplate{templates()[0]}
		with.Policies.Templates[0].Spec.Constraints = []v1alpha1.Constraint{{Name: "rule", Subject: v1alpha1.SubjectExposure, Expression: "application.name != params.name", Message: "not public"}}
		binding := w.clusterBinding("b", v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
		binding.Spec.Namespaces, binding.Spec.Policy.Name = nil, "closing0"
		binding.Spec.Parameters[0].Value.Raw = []byte(`"app0"`)
		with.Policies.ClusterBindings = []*v1alpha1.ClusterPolicyBinding{binding}
		a, b := compile.Compile(model.NewSnapshot(with)), compile.Compile(model.NewSnapshot(without))
		if x, y := objectsText(t, a), objectsText(t, b); !bytes.Equal(x, y) {
			t.Fatalf("seed %d: %s", seed, firstDifference(string(y), string(x)))
		}
	}
	if refused == 0 {
		t.Error("no exposure was refused: nothing was shown")
	}
}
