// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// listings are policies about what leaves the mesh, by name.
func listings() []*v1alpha1.PolicyTemplate {
	var out []*v1alpha1.PolicyTemplate
	add := func(name string, spec v1alpha1.PolicyTemplateSpec) {
		spec.Policy, spec.Version, spec.Title, spec.Remediation.Text = v1alpha1.LabelName(name), "1.0.0", name, "meet it"
		out = append(out, &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: name + "-1.0.0"}, Spec: spec})
	}
	for i, hosts := range []v1alpha1.Expression{"[]", "['api.example.com']", "['*.example.com']", "['www.example.org']", "['*']"} {
		add(fmt.Sprintf("list%d", i), v1alpha1.PolicyTemplateSpec{Contributions: []v1alpha1.Contribution{{Name: "list", Egress: &v1alpha1.EgressContribution{Hosts: hosts}}}})
	}
	for i, text := range []v1alpha1.Expression{"calleeNamespace.name != 'app1'", "call.peer.external.port == 443", "call.peer.?external.protocol.orValue('TLS') == 'TLS'"} {
		add(fmt.Sprintf("rule%d", i), v1alpha1.PolicyTemplateSpec{Constraints: []v1alpha1.Constraint{{Name: "rule", Subject: v1alpha1.SubjectCall, Expression: text, Message: "not that"}}})
	}
	return out
}

func listing(r *rand.Rand, name string, tier v1alpha1.PolicyTier, mode v1alpha1.PolicyMode) *v1alpha1.ClusterPolicyBinding {
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	b.Spec.Tier, b.Spec.Mode = tier, mode
	policies := listings()
	b.Spec.Policy = v1alpha1.PolicyVersion{Name: policies[r.IntN(len(policies))].Spec.Policy, Version: "1.0.0"}
	return b
}

// listingWorld is a mesh in which some state their calls, others have a ServiceEntry or a
// Sidecar, and policies are bound.
func listingWorld(r *rand.Rand) model.Input {
	in := callWorld(r)
	for _, a := range in.Applications {
		for i := range r.IntN(4) {
			a.Spec.Access.Calls = append(a.Spec.Access.Calls, randomCall(r, i))
		}
	}
	foreign := func(kind, namespace string, hosts ...string) {
		ref := model.Reference{Cluster: in.Mesh.Cluster, Group: "networking.istio.io", Kind: kind, Namespace: namespace, Name: fmt.Sprintf("x%d", len(in.Foreign))}
		in.Foreign = append(in.Foreign, model.Foreign{Ref: ref, Hosts: hosts})
	}
	foreign("ServiceEntry", "app0", "www.example.org", "api.example.com")
	if r.IntN(2) == 0 {
		foreign("Sidecar", fmt.Sprintf("app%d", r.IntN(4)), "./*", "app0/www.example.org")
	}
	in.Policies.Templates = listings()
	for i := range r.IntN(3) {
		tier := []v1alpha1.PolicyTier{v1alpha1.TierMandatory, v1alpha1.TierDefault}[r.IntN(2)]
		in.Policies.ClusterBindings = append(in.Policies.ClusterBindings, listing(r, fmt.Sprintf("b%d", i), tier, v1alpha1.ModeEnforce))
	}
	return in
}

// letOut are the hosts of each Application's Sidecar, each with its namespace.
func letOut(outcome *compile.Outcome) map[string][]string {
	out := make(map[string][]string)
	for _, o := range outcome.Objects {
		if v, ok := o.Value.(*networkingv1.Sidecar); ok {
			for _, host := range v.Spec.Egress[0].Hosts {
				if of, name, _ := strings.Cut(host, "/"); of == "." {
					host = v.Namespace + "/" + name
				}
				out[v.Namespace] = append(out[v.Namespace], host)
			}
		}
	}
	return out
}

func TestAnotherMandatoryPolicyNeverLetsACallOut(t *testing.T) {
	narrowed := 0
	for seed := range uint64(callWorlds) {
		r := rand.New(rand.NewPCG(seed, 2))
		in := listingWorld(r)
		before := letOut(compile.Compile(model.NewSnapshot(in)))
		more := listing(r, "more", v1alpha1.TierMandatory, v1alpha1.ModeEnforce)
		in.Policies.ClusterBindings = append(slices.Clone(in.Policies.ClusterBindings), more)
		outcome := compile.Compile(model.NewSnapshot(in))
		checkObjects(t, outcome)
		after := letOut(outcome)
		for namespace, hosts := range before {
			if len(after[namespace]) == 0 {
				t.Fatalf("seed %d: %s is not limited any more", seed, namespace)
			}
			for _, host := range after[namespace] {
				if !slices.Contains(hosts, host) {
					t.Fatalf("seed %d: with %s bound, %s may call %s", seed, more.Spec.Policy.Name, namespace, host)
				}
			}
			narrowed += len(hosts) - len(after[namespace])
		}
		narrowed += len(after) - len(before)
	}
	if narrowed < callWorlds/4 {
		t.Errorf("%d calls were kept in by one more policy: the policies hardly do anything", narrowed)
	}
}

// Whoever may write PolicyBindings of a namespace must not be able to take the operator's
// memory: of lists that lie within each other each name is on all of them.
func TestListsThatLieWithinEachOtherTakeNoMoreThanTheirLength(t *testing.T) {
	var nested []string
	for i := range 60 {
		nested = append(nested, "'*."+strings.Repeat("a.", i)+"example.com'")
	}
	in := callWorld(rand.New(rand.NewPCG(1, 1)))
	in.Policies.Templates = listings()[:1]
	in.Policies.Templates[0].Spec.Contributions[0].Egress.Hosts = v1alpha1.Expression("[" + strings.Join(nested, ", ") + "]")
	for _, a := range in.Applications {
		for i := range 4 {
			b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: fmt.Sprintf("%s-%d", a.Name, i)}}
			b.Spec.Policy, b.Spec.Mode = v1alpha1.PolicyVersion{Name: "list0", Version: "1.0.0"}, v1alpha1.ModeEnforce
			in.Policies.Bindings = append(in.Policies.Bindings, b)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	outcome := compile.Compile(model.NewSnapshot(in))
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 256 {
		t.Errorf("%d MiB were taken", took)
	}
	if len(outcome.Objects) == 0 || strings.Contains(findingsOf(outcome), "PolicyConflict") {
		t.Errorf("the lists have names in common, and it is said: %s", findingsOf(outcome))
	}
}

func TestPoliciesAboutCallsDoNotDependOnTheirOrder(t *testing.T) {
	for seed := range uint64(callWorlds / 10) {
		r := rand.New(rand.NewPCG(seed, 3))
		in := listingWorld(r)
		first := compile.Compile(model.NewSnapshot(in))
		for _, list := range []func(){
			func() { slices.Reverse(in.Applications) }, func() { slices.Reverse(in.Foreign) }, func() { slices.Reverse(in.Policies.ClusterBindings) },
		} {
			list()
			again := compile.Compile(model.NewSnapshot(in))
			if !bytes.Equal(objectsText(t, first), objectsText(t, again)) || !slices.Equal(first.Findings, again.Findings) {
				t.Fatalf("seed %d: another order, another outcome: %s", seed, firstDifference(string(objectsText(t, first))+findingsOf(first), string(objectsText(t, again))+findingsOf(again)))
			}
		}
	}
}

func TestPoliciesAboutCallsThatAreOnlyTriedChangeNothing(t *testing.T) {
	said := 0
	for seed := range uint64(callWorlds / 10) {
		r := rand.New(rand.NewPCG(seed, 4))
		in := listingWorld(r)
		before := compile.Compile(model.NewSnapshot(in))
		mode := []v1alpha1.PolicyMode{v1alpha1.ModeShadow, v1alpha1.ModeAudit}[r.IntN(2)]
		in.Policies.ClusterBindings = append(slices.Clone(in.Policies.ClusterBindings), listing(r, "tried", v1alpha1.TierMandatory, mode))
		after := compile.Compile(model.NewSnapshot(in))
		if was, is := objectsText(t, before), objectsText(t, after); !bytes.Equal(was, is) {
			t.Fatalf("seed %d: a policy that is only tried changes what is generated: %s", seed, firstDifference(string(was), string(is)))
		}
		said += len(after.Findings) - len(before.Findings)
	}
	if said == 0 {
		t.Error("nothing was said: nothing was shown")
	}
}
