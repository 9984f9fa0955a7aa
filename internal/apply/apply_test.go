// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

func TestEveryKindComesBackWithTheDigestThatWasSent(t *testing.T) {
	w := newWorld(t)
	objects := w.everyKind()
	w.mustRun(objects)
	desired, err := new(apply.Preparer).Prepare(objects)
	if err != nil {
		t.Fatal(err)
	}
	live := map[model.Reference]apply.Live{}
	for _, l := range w.live() {
		live[l.Ref] = l
	}
	for _, d := range desired {
		l, ok := live[d.Ref]
		if !ok {
			t.Errorf("%s was not created", d.Ref)
			continue
		}
		if l.Digest != d.Digest {
			t.Errorf("%s came back as another object than was sent", d.Ref)
		}
		if !l.Ours || l.Owner != w.owner() || len(l.Managers) != 0 {
			t.Errorf("%s: ours %v, owner %v, other managers %v", d.Ref, l.Ours, l.Owner, l.Managers)
		}
	}
	if len(live) != len(objects) {
		t.Errorf("%d objects exist, want %d", len(live), len(objects))
	}
}

func TestASecondRunWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.mustRun(w.everyKind())
	for _, name := range []string{"in the same process", "after a restart"} {
		before := w.writes.Load()
		plan, _ := w.mustRun(w.everyKind())
		if !plan.Empty() || w.writes.Load() != before {
			t.Errorf("%s: %d writes, plan empty: %v", name, w.writes.Load()-before, plan.Empty())
		}
		w.restart()
	}
}

func TestAnObjectThatSomebodyElseMadeIsAConflictAndStaysAsItIs(t *testing.T) {
	w := newWorld(t)
	mine := w.deny("deny", "shop.example.com")
	theirs := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deny"}}
	if err := w.client.Create(t.Context(), theirs, client.FieldOwner("argocd")); err != nil {
		t.Fatal(err)
	}
	plan, result := w.mustRun([]compile.Object{mine})
	if len(plan.Conflicts) != 1 || plan.Conflicts[0].Object.Ref != mine.Ref || len(result.Changes) != 0 {
		t.Fatalf("conflicts %v, changes %v", plan.Conflicts, result.Changes)
	}
	w.mustRun(nil)
	after := &securityv1.AuthorizationPolicy{}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(theirs), after); err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != theirs.ResourceVersion {
		t.Error("the foreign object was written")
	}
}

func TestAForeignObjectThatTheCacheDoesNotShowYetIsNotTakenOver(t *testing.T) {
	w := newWorld(t)
	mine := w.deny("deny", "shop.example.com")
	desired, err := new(apply.Preparer).Prepare([]compile.Object{mine})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := w.applier.Ledger.Compare(desired, nil, never, none)
	if err != nil {
		t.Fatal(err)
	}
	theirs := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deny"}}
	theirs.Spec.Action = securityv1beta1.AuthorizationPolicy_AUDIT
	if err := w.client.Create(t.Context(), theirs, client.FieldOwner("argocd")); err != nil {
		t.Fatal(err)
	}
	result, err := w.applier.Restrict(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Conflicts) != 1 || len(result.Conflicts[0].Managers) != 1 || result.Conflicts[0].Managers[0].Name != "argocd" {
		t.Errorf("conflicts %+v, want one that names argocd", result.Conflicts)
	}
	after := &securityv1.AuthorizationPolicy{}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(theirs), after); err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != theirs.ResourceVersion {
		t.Error("the foreign object was written")
	}
}

func TestWhatSomebodyChangesByHandIsPutBack(t *testing.T) {
	for name, test := range map[string]struct {
		patch  string
		fields []string
	}{
		"a rule taken away":        {`{"spec":{"rules":[]}}`, []string{"spec.rules"}},
		"the action changed":       {`{"spec":{"action":"AUDIT"}}`, []string{"spec.action"}},
		"a selector widened":       {`{"spec":{"selector":{"matchLabels":{"also":"this"}}}}`, []string{"spec.selector.matchLabels.also"}},
		"a policy put to dry run":  {`{"metadata":{"annotations":{"istio.io/dry-run":"true"}}}`, []string{"metadata.annotations.istio.io/dry-run"}},
		"hidden from this istiod":  {`{"metadata":{"labels":{"istio.io/rev":"other"}}}`, []string{"metadata.labels.istio.io/rev"}},
		"its owner label removed":  {`{"metadata":{"labels":{"trellis.dev/owner-name":null}}}`, []string{"metadata.labels.trellis.dev/owner-name"}},
		"its label of ours gone":   {`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`, []string{"metadata.labels.app.kubernetes.io/managed-by"}},
		"a nested value in a rule": {`{"spec":{"rules":[{"to":[{"operation":{"hosts":["other.example.com","shop.example.com:*"]}}]}]}}`, []string{"spec.rules[0].to[0].operation.hosts[0]"}},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
				w := newWorld(t)
				policy := w.deny("deny", "shop.example.com")
				w.mustRun([]compile.Object{policy})
				u := &unstructured.Unstructured{}
				u.SetGroupVersionKind(gvk("security.istio.io", "v1", "AuthorizationPolicy"))
				u.SetNamespace(w.namespace)
				u.SetName("deny")
				if err := w.client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(test.patch)), client.FieldOwner("kubectl-edit")); err != nil {
					t.Fatal(err)
				}
				if restarted {
					w.restart()
				}
				_, result := w.mustRun([]compile.Object{policy})
				if len(result.Changes) != 1 || result.Changes[0].Verb != apply.VerbUpdate {
					t.Fatalf("changes %+v, want one update", result.Changes)
				}
				// A label that somebody took away leaves no trace of who it was.
				if edit := result.Changes[0].Edit; edit != nil || !restarted {
					if edit == nil || !slices.Equal(edit.Fields, test.fields) {
						t.Errorf("edit %+v, want fields %v", edit, test.fields)
					}
				}
				if live := w.live(); len(live) != 1 || !live[0].Ours {
					t.Errorf("inventory %+v", live)
				}
				if plan, _ := w.mustRun([]compile.Object{policy}); !plan.Empty() {
					t.Error("the object is still not what was wanted")
				}
			})
		}
	}
}

func TestLabelsOfOtherToolsStay(t *testing.T) {
	w := newWorld(t)
	policy := w.deny("deny", "shop.example.com")
	w.mustRun([]compile.Object{policy})
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk("security.istio.io", "v1", "AuthorizationPolicy"))
	u.SetNamespace(w.namespace)
	u.SetName("deny")
	patch := `{"metadata":{"labels":{"team":"a"},"annotations":{"velero.io/backup":"b"}},"spec":{"action":"AUDIT"}}`
	if err := w.client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("tool")); err != nil {
		t.Fatal(err)
	}
	w.mustRun([]compile.Object{policy})
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(u), u); err != nil {
		t.Fatal(err)
	}
	if u.GetLabels()["team"] != "a" || u.GetAnnotations()["velero.io/backup"] != "b" {
		t.Errorf("labels %v, annotations %v", u.GetLabels(), u.GetAnnotations())
	}
	if action, _, _ := unstructured.NestedString(u.Object, "spec", "action"); action != "DENY" {
		t.Errorf("action %s was not put back", action)
	}
}

func TestAnInstructionToAControllerIsNoHandEdit(t *testing.T) {
	plain := map[string]any{"metadata": map[string]any{"annotations": map[string]any{"trellis.dev/origin": "o"}}}
	for key, same := range map[string]bool{v1alpha1.RenewAnnotation: true, v1alpha1.RetryAnnotation: true, v1alpha1.SkipSelfCheckAnnotation: true, "trellis.dev/other": false} {
		told := map[string]any{"metadata": map[string]any{"annotations": map[string]any{"trellis.dev/origin": "o", key: "now"}}}
		a, err := apply.DigestOf(plain)
		if err != nil {
			t.Fatal(err)
		}
		b, err := apply.DigestOf(told)
		if err != nil {
			t.Fatal(err)
		}
		if (a == b) != same {
			t.Errorf("%s has an effect on the digest: %t", key, a != b)
		}
	}
}

func TestWhatIsNoLongerWantedGoesAndNothingElse(t *testing.T) {
	w := newWorld(t)
	theirs := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "theirs"}}
	if err := w.client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.mustRun(w.everyKind())
	_, result := w.mustRun(nil)
	if len(result.Changes) != len(w.everyKind()) {
		t.Errorf("%d deletions, want %d", len(result.Changes), len(w.everyKind()))
	}
	live := w.live()
	if len(live) != 1 || live[0].Ref.Name != "theirs" {
		t.Errorf("left: %+v", live)
	}
}

func TestWhatIsFrozenIsNeitherPutBackNorPruned(t *testing.T) {
	w := newWorld(t)
	w.mustRun([]compile.Object{w.deny("deny", "a.example.com"), w.route("shop", "a.example.com")})
	frozen := func(owners []model.Reference) bool { return slices.Contains(owners, w.owner()) }
	before := w.writes.Load()
	if _, _, err := w.run([]compile.Object{w.deny("deny", "b.example.com")}, frozen); err != nil {
		t.Fatal(err)
	}
	if w.writes.Load() != before {
		t.Error("something was written for a frozen owner")
	}
}

func TestWhatRestrictsAnOwnerThatCannotBeToldIsKeptAndItsRoutesGo(t *testing.T) {
	w := newWorld(t)
	w.mustRun([]compile.Object{w.deny("deny", "a.example.com"), w.route("shop", "a.example.com")})
	kept := func(object, owner model.Reference) bool { return owner == w.owner() && apply.Restricts(object) }
	if _, _, err := w.runKeeping(nil, never, kept); err != nil {
		t.Fatal(err)
	}
	live := w.live()
	if len(live) != 1 || live[0].Ref.Kind != "AuthorizationPolicy" {
		t.Errorf("left are %+v, want the policy alone", live)
	}
	w.mustRun(nil)
	if live := w.live(); len(live) != 0 {
		t.Errorf("an owner that is gone keeps nothing, and left are %+v", live)
	}
}

func TestAClaimOfAnotherNamespaceStopsEverything(t *testing.T) {
	w := newWorld(t)
	host := w.namespace + ".example.com"
	theirs := &v1alpha1.HostClaim{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.HostClaimSpec{Namespace: "other"}}
	if err := w.client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	claim := func(namespace string) compile.Object {
		c := &v1alpha1.HostClaim{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.HostClaimSpec{Namespace: v1alpha1.LabelName(namespace)}}
		c.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("HostClaim"))
		return compile.Object{Ref: model.Reference{Cluster: cluster, Group: v1alpha1.GroupName, Kind: "HostClaim", Name: host}, Value: c}
	}
	_, _, err := w.run([]compile.Object{claim(w.namespace), w.route("shop", host)}, never)
	if !errors.Is(err, apply.ErrStale) || !strings.Contains(err.Error(), "namespace other has it") {
		t.Errorf("error %v, want ErrStale that names the owner", err)
	}
	if live := w.live(); len(live) != 0 {
		t.Errorf("a route was written although the host is somebody else's: %+v", live)
	}
	if _, _, err := w.run([]compile.Object{claim("other")}, never); err != nil {
		t.Errorf("the same claim again: %v", err)
	}
}

func TestARefusedRestrictionIsAFailureAndNotAnError(t *testing.T) {
	w := newWorld(t)
	bad := w.deny("deny", "a.example.com")
	bad.Value.SetLabels(map[string]string{compile.LabelManagedBy: "not a label value!"})
	_, result := w.mustRun([]compile.Object{bad})
	if len(result.Failures) != 1 || result.Failures[0].Reason != "WriteRefused" {
		t.Errorf("failures %+v", result.Failures)
	}
}

// open lists the hosts that a VirtualService routes and no DENY rule covers.
func (w *world) open() []string {
	covered := map[string]bool{}
	for _, u := range w.list(kind("AuthorizationPolicy")) {
		raw, _ := u.MarshalJSON()
		for _, part := range strings.Split(string(raw), `"`) {
			covered[part] = true
		}
	}
	var out []string
	for _, u := range w.list(kind("VirtualService")) {
		hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
		for _, h := range hosts {
			if !covered[h] {
				out = append(out, h)
			}
		}
	}
	return out
}

func kind(name string) apply.Kind {
	for _, k := range apply.Kinds() {
		if k.Kind == name {
			return k
		}
	}
	panic("no kind " + name)
}

// TestKilledAtAnyPointNoRouteIsOpen changes what is wanted in ways that open,
// close and move routes, and ends the process after each single write. After
// every write every routed host has its denial, and a new process finishes.
func TestKilledAtAnyPointNoRouteIsOpen(t *testing.T) {
	w := newWorld(t)
	states := [][]compile.Object{
		{},
		{w.deny("one", "a.example.com", "b.example.com"), w.route("a", "a.example.com"), w.route("b", "b.example.com")},
		// A host goes away and its rule goes out of a policy that stays.
		{w.deny("one", "a.example.com"), w.route("a", "a.example.com")},
		// Rules move to another policy, a host joins a route that exists.
		{w.deny("two", "a.example.com", "c.example.com"), w.route("a", "a.example.com", "c.example.com")},
		// A host is replaced in both.
		{w.deny("two", "d.example.com"), w.route("a", "d.example.com")},
		{},
	}
	w.after = func() {
		if open := w.open(); len(open) > 0 {
			t.Errorf("open routes after a write: %v", open)
		}
	}
	for i := 1; i < len(states); i++ {
		for kill := int64(0); ; kill++ {
			w.limit.Store(-1)
			w.restart()
			w.mustRun(states[i-1])
			w.writes.Store(0)
			w.limit.Store(kill)
			_, _, err := w.run(states[i], never)
			if err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			w.limit.Store(-1)
			w.restart()
			w.mustRun(states[i])
			if got, want := names(w.live()), wanted(states[i]); !slices.Equal(got, want) {
				t.Fatalf("state %d killed after %d writes: %v exist, want %v", i, kill, got, want)
			}
			if plan, _ := w.mustRun(states[i]); !plan.Empty() {
				t.Fatalf("state %d killed after %d writes: there is still something to do", i, kill)
			}
			if err == nil {
				break
			}
		}
	}
}

func names(live []apply.Live) []string {
	var out []string
	for _, l := range live {
		out = append(out, l.Ref.String())
	}
	slices.Sort(out)
	return out
}

func wanted(objects []compile.Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.Ref.String())
	}
	slices.Sort(out)
	return out
}

func TestTheOrderOfObjectsDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	objects := w.everyKind()
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		random.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		w.after = func() {
			if open := w.open(); len(open) > 0 {
				t.Errorf("open routes after a write: %v", open)
			}
		}
		w.mustRun(objects)
		w.mustRun(nil)
	}
}

func TestACacheThatLagsBehindIsNoHandEdit(t *testing.T) {
	w := newWorld(t)
	first, second := w.deny("deny", "a.example.com"), w.deny("deny", "b.example.com")
	w.mustRun([]compile.Object{first})
	stale := w.live()
	w.mustRun([]compile.Object{second})
	desired, err := new(apply.Preparer).Prepare([]compile.Object{second})
	if err != nil {
		t.Fatal(err)
	}
	for name, cached := range map[string][]apply.Live{"the version before": stale, "nothing": nil} {
		plan, err := w.applier.Ledger.Compare(desired, w.applier.Ledger.Merge(slices.Clone(cached)), never, none)
		if err != nil {
			t.Fatal(err)
		}
		if !plan.Empty() {
			t.Errorf("with a cache that shows %s, there is something to do", name)
		}
	}
	w.mustRun(nil)
	if left := w.applier.Ledger.Merge(slices.Clone(stale)); len(left) != 0 {
		t.Errorf("an object that was deleted is still there: %+v", left)
	}
}

func TestARememberedDigestIsTheOneOfTheObjectAsItIsNow(t *testing.T) {
	w := newWorld(t)
	var p apply.Preparer
	for name, objects := range map[string][]compile.Object{
		"as before": w.everyKind(), "with another rule": {w.deny("deny", "a.example.com", "b.example.com")},
		"with one less": {w.deny("deny", "a.example.com")}, "with another annotation": {annotated(w.deny("deny", "a.example.com"))},
	} {
		for range 2 {
			remembered, err := p.Prepare(objects)
			if err != nil {
				t.Fatal(err)
			}
			afresh, err := new(apply.Preparer).Prepare(objects)
			if err != nil {
				t.Fatal(err)
			}
			for i := range afresh {
				if remembered[i].Digest != afresh[i].Digest {
					t.Errorf("%s: %s has another digest than without a memory", name, afresh[i].Ref)
				}
			}
		}
	}
}

func annotated(o compile.Object) compile.Object {
	o.Value.SetAnnotations(map[string]string{compile.AnnotationOrigin: "another"})
	return o
}

// alter makes the API server change every policy of the namespace on its way to
// storage, as a policy engine of the platform might.
func (w *world) alter() {
	w.t.Helper()
	match := &admissionv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
		ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{"security.istio.io"}, APIVersions: []string{"v1"}, Resources: []string{"authorizationpolicies"}},
		}}},
	}
	fail := admissionv1.Fail
	objects := []client.Object{
		&admissionv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
			Spec: admissionv1.MutatingAdmissionPolicySpec{
				FailurePolicy: &fail, MatchConstraints: match, ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
				Mutations: []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{
					Expression: `[JSONPatch{op: "add", path: "/spec/action", value: "AUDIT"}]`,
				}}},
			},
		},
		&admissionv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
			Spec:       admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: w.namespace},
		},
	}
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = w.client.Delete(context.Background(), o) })
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	err := stack.Until(ctx, "the policy to be in force", func(ctx context.Context) error {
		p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "canary"}}
		p.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY
		if err := w.client.Create(ctx, p, client.DryRunAll); err != nil {
			return err
		}
		if p.Spec.Action != securityv1beta1.AuthorizationPolicy_AUDIT {
			return errors.New("it changes nothing yet")
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatIsAlteredOnItsWayToStorageIsSaidAndNotFoughtForEver(t *testing.T) {
	w := newWorld(t)
	w.alter()
	policy := w.deny("deny", "a.example.com")
	_, result := w.mustRun([]compile.Object{policy})
	if len(result.Failures) != 1 || result.Failures[0].Reason != "AlteredOnWrite" {
		t.Fatalf("failures %+v", result.Failures)
	}
	before := w.writes.Load()
	for range 3 {
		plan, _ := w.mustRun([]compile.Object{policy})
		if len(plan.Altered) != 1 {
			t.Errorf("the plan does not say that the object is altered: %+v", plan)
		}
	}
	if after := w.writes.Load(); after != before {
		t.Errorf("%d more writes that cannot help", after-before)
	}
	w.mustRun([]compile.Object{w.deny("deny", "b.example.com")})
	if w.writes.Load() == before {
		t.Error("a change of what is wanted was not written")
	}
}
