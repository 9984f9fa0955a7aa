// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// exception is one that dora asks for. The kind and the name are of the binding.
func exception(t *testing.T, name, kind, binding string) *v1alpha1.PolicyException {
	t.Helper()
	e := &v1alpha1.PolicyException{}
	must(t, yaml.UnmarshalStrict(fmt.Appendf(nil, `
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: %s, namespace: shop}
spec:
  binding: {kind: %s, name: %s}
  subject: {application: web}
  reason: the old clients are gone by June
  expires: "2126-06-01T00:00:00Z"
`, name, kind, binding), e))
	return e
}

// approval patches an approval in the name of a user into an exception.
func approval(t *testing.T, e *v1alpha1.PolicyException, by string) client.Patch {
	t.Helper()
	digest, err := policy.Digest(e)
	must(t, err)
	return client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"approval":{"by":%q,"of":%q}}}`, by, digest))
}

// withoutWebhook takes the registration away: what is refused then, the API server
// refuses by itself.
func (c *cluster) withoutWebhook(t *testing.T) {
	t.Helper()
	r := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: registration}}
	must(t, client.IgnoreNotFound(c.api.Delete(t.Context(), r)))
}

func TestAnApprovalIsTakenFromWhoeverMayApproveAndFromNobodyElse(t *testing.T) {
	shared.admit(t)
	shared.withoutWebhook(t)
	ctx := t.Context()
	dora, olga, lena, admin := shared.as(t, "dora"), shared.as(t, "olga"), shared.as(t, "lena"), shared.api
	asked := exception(t, "asked", "ClusterPolicyBinding", "names")
	shared.until(t, "the guards to be in force, and the webhook gone", func(ctx context.Context) error {
		forged := exception(t, "forged", "ClusterPolicyBinding", "names")
		forged.Spec.Approval = &v1alpha1.ExceptionApproval{By: "olga", Of: strings.Repeat("0", 64)}
		if err := dora.Create(ctx, forged, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "trellis-exception-approval") {
			return fmt.Errorf("a forged approval is answered: %w", err)
		}
		return nil
	})
	must(t, dora.Create(ctx, asked))
	team := exception(t, "team", "PolicyBinding", "ours")
	must(t, dora.Create(ctx, team))
	other := exception(t, "other", "PolicyBinding", "theirs")
	must(t, dora.Create(ctx, other))
	for _, test := range []struct {
		name string
		who  client.Client
		of   *v1alpha1.PolicyException
		by   string
		// says are texts of the refusal; none: it is taken.
		says []string
	}{
		{"a developer approves what she asked for", dora, asked, "dora", []string{
			"dora may not approve exceptions from ClusterPolicyBinding names", "verb approve on clusterpolicybindings.trellis.dev names", "Do: leave spec.approval out",
		}},
		{"a developer writes the officer's name", dora, asked, "olga", []string{"in the name of olga, and you are dora", "trellis exception approve asked -n shop"}},
		{"an officer writes another's name", olga, asked, "paul", []string{"in the name of paul, and you are olga"}},
		{"cluster-admin writes the officer's name", admin, asked, "olga", []string{"in the name of olga, and you are admin"}},
		{"an officer approves", olga, asked, "olga", nil},
		{"who leads a team approves exceptions from its own binding", lena, team, "lena", nil},
		{"and from no other of its namespace", lena, other, "lena", []string{"lena may not approve exceptions from PolicyBinding theirs"}},
		{"and not from those of the cluster", lena, exception(t, "asked", "ClusterPolicyBinding", "names"), "lena", []string{"lena may not approve"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: test.of.Name}}
			err := test.who.Patch(ctx, target, approval(t, test.of, test.by))
			if len(test.says) == 0 {
				must(t, err)
				return
			}
			if !apierrors.IsForbidden(err) {
				t.Fatalf("got %v, want it to be forbidden", err)
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the refusal does not say %q: %v", want, err)
				}
			}
		})
	}

	t.Run("what changes afterwards keeps an approval that holds no more", func(t *testing.T) {
		longer := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "asked"}}
		must(t, dora.Patch(ctx, longer, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"expires":"2127-01-01T00:00:00Z"}}`))))
		digest, err := policy.Digest(longer)
		must(t, err)
		if longer.Spec.Approval == nil || longer.Spec.Approval.By != "olga" || longer.Spec.Approval.Of == digest {
			t.Errorf("the approval is %+v, and the digest of what is there %s", longer.Spec.Approval, digest)
		}
	})
	t.Run("anybody who may write it takes an approval away", func(t *testing.T) {
		target := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "asked"}}
		must(t, dora.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"approval":null}}`))))
	})
}

// Whoever may approve from one binding writes the digest of what the exception is to be
// from another one, and only then says which.
func TestAnApprovalIsNotTakenAlongToAnotherBinding(t *testing.T) {
	shared.admit(t)
	shared.withoutWebhook(t)
	ctx := t.Context()
	lena, olga := shared.as(t, "lena"), shared.as(t, "olga")
	mandatory := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"binding":{"kind":"ClusterPolicyBinding","name":"names"}}}`))
	withApproval := func(by, of string) client.Patch {
		return client.RawPatch(types.MergePatchType, fmt.Appendf(nil,
			`{"spec":{"binding":{"kind":"ClusterPolicyBinding","name":"names"},"approval":{"by":%q,"of":%q}}}`, by, of))
	}
	forged := exception(t, "taken-along", "PolicyBinding", "ours")
	digest, err := policy.Digest(exception(t, "taken-along", "ClusterPolicyBinding", "names"))
	must(t, err)
	must(t, lena.Create(ctx, forged.DeepCopy()))
	target := func() *v1alpha1.PolicyException {
		return &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "taken-along"}}
	}
	must(t, lena.Patch(ctx, target(), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"approval":{"by":"lena","of":%q}}}`, digest))))
	// The policies that were there before this test are in force until these are.
	shared.until(t, "the guard to refuse another binding", func(ctx context.Context) error {
		err := lena.Patch(ctx, target(), mandatory, client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("another binding below the approval is answered: %w", err)
		}
		for _, want := range []string{"spec.binding", "approved from PolicyBinding ours", "ClusterPolicyBinding names", "trellis exception revoke taken-along -n shop"} {
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the refusal does not say %q: %w", want, err)
			}
		}
		return nil
	})
	if err := olga.Patch(ctx, target(), mandatory); !apierrors.IsForbidden(err) {
		t.Errorf("who may approve from both takes an approval of lena along: %v", err)
	}
	if err := lena.Patch(ctx, target(), withApproval("lena", strings.Repeat("0", 64))); !apierrors.IsForbidden(err) {
		t.Errorf("another binding with another approval by who may not approve from it: %v", err)
	}
	must(t, olga.Patch(ctx, target(), withApproval("olga", digest)))
	must(t, lena.Patch(ctx, target(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"approval":null,"binding":{"kind":"PolicyBinding","name":"ours"}}}`))))
}

// A pause keeps away what policies demand from now on, and keeps open what an exception let
// go that has expired: it is no developer's to make.
func TestAPauseIsMadeByWhoeverMayWriteWhatIsGenerated(t *testing.T) {
	shared.admit(t)
	shared.withoutWebhook(t)
	ctx := t.Context()
	dora, paul, admin := shared.as(t, "dora"), shared.as(t, "paul"), shared.api
	named := func(name string) *v1alpha1.Application {
		app, ok := read(t, application("shop", "name: web,", "name: "+name+",")).(*v1alpha1.Application)
		if !ok {
			t.Fatal("it is no Application")
		}
		return app
	}
	app, ingress := named("halts"), read(t, strings.Replace(secureIngress, "name: public, namespace", "name: halts, namespace", 1))
	must(t, admin.Create(ctx, ingress))
	must(t, dora.Create(ctx, app))
	defer func() { must(t, errors.Join(admin.Delete(ctx, app), admin.Delete(ctx, ingress))) }()
	target := func(o client.Object) client.Object {
		out, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatal("it is no object")
		}
		return out
	}
	pause := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/paused":"true"}}}`))
	resume := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/paused":null}}}`))
	shared.until(t, "the guards to be in force", func(ctx context.Context) error {
		err := dora.Patch(ctx, target(app), pause, client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("a pause is answered: %w", err)
		}
		for _, want := range []string{"metadata.annotations[trellis.dev/paused]", "dora may not pause Application shop/halts", "trellis-pause", "override on generatedobjects.trellis.dev"} {
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the refusal does not say %q: %w", want, err)
			}
		}
		return nil
	})
	born := named("born")
	born.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"}
	if err := dora.Create(ctx, born); !apierrors.IsForbidden(err) {
		t.Errorf("an Application that is made paused: %v", err)
	}
	if err := paul.Patch(ctx, target(ingress), pause); !apierrors.IsForbidden(err) {
		t.Errorf("who runs the platform pauses an ingress, and the policies about it: %v", err)
	}
	must(t, dora.Patch(ctx, target(app), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/paused":"false","team":"shop"}}}`))))
	must(t, admin.Patch(ctx, target(app), pause))
	must(t, dora.Patch(ctx, target(app), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"team":"cart"}}}`))))
	must(t, dora.Patch(ctx, target(app), resume))
}

// What is in force while changes wait for their tests is what its record says. Who may write
// all workloads of a namespace may write ControllerRevisions, too.
func TestWhatIsInForceIsTheOperatorsToWrite(t *testing.T) {
	shared.admit(t)
	shared.withoutWebhook(t)
	ctx := t.Context()
	dora := shared.as(t, "dora")
	account, err := shared.ServiceAccountConfig(ctx, operatorNamespace, "trellis-operator")
	must(t, err)
	operator, err := newClient(account)
	must(t, err)
	app := read(t, application("shop", "name: web,", "name: kept,"))
	must(t, shared.api.Create(ctx, app))
	defer func() { must(t, shared.api.Delete(ctx, app)) }()
	stated, ok := app.(*v1alpha1.Application)
	if !ok {
		t.Fatal("it is no Application")
	}
	forged, err := inforce.Revision(stated)
	must(t, err)
	shared.until(t, "the guards to be in force", func(ctx context.Context) error {
		err := dora.Create(ctx, forged.DeepCopy(), client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("a forged record is answered: %w", err)
		}
		for _, want := range []string{"what is in force of an Application", "trellis-in-force", "Do: change the Application", "override on generatedobjects.trellis.dev"} {
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("the refusal does not say %q: %w", want, err)
			}
		}
		return nil
	})
	must(t, operator.Create(ctx, forged.DeepCopy()))
	target := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: forged.Namespace, Name: forged.Name}}
	if err := dora.Delete(ctx, target.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("a developer deletes it: %v", err)
	}
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"trellis.dev/in-force":null}}}`))
	if err := dora.Patch(ctx, target.DeepCopy(), label); !apierrors.IsForbidden(err) {
		t.Errorf("a developer takes its label off: %v", err)
	}
	own := forged.DeepCopy()
	own.Name, own.Labels = "own", nil
	must(t, dora.Create(ctx, own))
	must(t, dora.Delete(ctx, own))
	must(t, operator.Delete(ctx, target.DeepCopy()))
}

// generated is an object as the operator makes it.
func generated(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
		"metadata": map[string]any{"name": name, "namespace": "shop", "labels": map[string]any{
			"app.kubernetes.io/managed-by": "trellis", "trellis.dev/owner-kind": "Application",
			"trellis.dev/owner-namespace": "shop", "trellis.dev/owner-name": "web",
		}},
		"spec": map[string]any{"action": "DENY"},
	}}
}

func TestGeneratedObjectsAreTheOperatorsToWrite(t *testing.T) {
	ctx := t.Context()
	must(t, shared.InstallIstioCRDs(ctx))
	shared.admit(t)
	shared.withoutWebhook(t)
	dora := shared.as(t, "dora")
	account, err := shared.ServiceAccountConfig(ctx, operatorNamespace, "trellis-operator")
	must(t, err)
	operator, err := newClient(account)
	must(t, err)
	shared.until(t, "the guards to be in force", func(ctx context.Context) error {
		if err := dora.Create(ctx, generated("forged"), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "trellis-generated-objects") {
			return fmt.Errorf("a forged object is answered: %w", err)
		}
		return nil
	})
	must(t, operator.Create(ctx, generated("made")))
	plain := generated("plain")
	plain.SetLabels(map[string]string{"app": "web"})
	must(t, dora.Create(ctx, plain))
	spec := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"action":"ALLOW"}}`))
	unlabel := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`))
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"trellis","trellis.dev/owner-kind":"Application"}}}`))
	// The API server gives this account its rights itself, and every verb is not among them.
	garbage := shared.as(t, "system:serviceaccount:kube-system:generic-garbage-collector")
	for _, test := range []struct {
		name    string
		do      func() error
		refused bool
	}{
		{"a developer makes one", func() error { return dora.Create(ctx, generated("forged")) }, true},
		{"a developer changes one", func() error { return dora.Patch(ctx, generated("made"), spec) }, true},
		{"a developer takes its label off", func() error { return dora.Patch(ctx, generated("made"), unlabel) }, true},
		{"a developer puts the labels on her own", func() error { return dora.Patch(ctx, plain.DeepCopy(), label) }, true},
		{"a developer deletes one", func() error { return dora.Delete(ctx, generated("made")) }, true},
		{"a developer changes her own", func() error { return dora.Patch(ctx, plain.DeepCopy(), spec) }, false},
		{"the operator changes one", func() error { return operator.Patch(ctx, generated("made"), spec) }, false},
		{"who has every verb overrides it", func() error { return shared.api.Patch(ctx, generated("made"), spec) }, false},
		{"the garbage collector deletes one", func() error { return garbage.Delete(ctx, generated("made")) }, false},
		{"a developer deletes her own", func() error { return dora.Delete(ctx, plain) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do()
			if !test.refused {
				must(t, err)
				return
			}
			if !apierrors.IsForbidden(err) {
				t.Fatalf("got %v, want it to be forbidden", err)
			}
			for _, want := range []string{"generated from Application", "nobody but the operator writes it", "Do: change Application", "override on generatedobjects.trellis.dev"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the refusal does not say %q: %v", want, err)
				}
			}
		})
	}
}

func TestAManagedCertificateIsToldToRenewAndNotChanged(t *testing.T) {
	ctx := t.Context()
	shared.admit(t)
	shared.withoutWebhook(t)
	c := &v1alpha1.ManagedCertificate{}
	must(t, yaml.UnmarshalStrict([]byte(`
apiVersion: trellis.dev/v1alpha1
kind: ManagedCertificate
metadata:
  name: web
  namespace: shop
  labels: {app.kubernetes.io/managed-by: trellis, trellis.dev/owner-kind: SecureIngress, trellis.dev/owner-namespace: shop, trellis.dev/owner-name: public}
spec: {dnsNames: [shop.example.com], secretName: web, challenge: HTTP01}
`), c))
	must(t, shared.api.Create(ctx, c))
	dora := shared.as(t, "dora")
	shared.until(t, "the guards to be in force", func(ctx context.Context) error {
		err := dora.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"email":"dora@example.com"}}`)), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "generated from SecureIngress shop/public") {
			return fmt.Errorf("another address is answered: %w", err)
		}
		return nil
	})
	must(t, dora.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"trellis.dev/renew":"now"}}}`))))
	if err := dora.Delete(ctx, c.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("a deletion is answered: %v", err)
	}
}
