// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/catalog"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/test/stack"
)

// template reads a policy of the catalog.
func template(t *testing.T, name string) (*v1alpha1.PolicyTemplate, []byte) {
	t.Helper()
	text, err := catalog.Files.ReadFile(name + "/policy.yaml")
	must(t, err)
	out := &v1alpha1.PolicyTemplate{}
	must(t, yaml.Unmarshal(text, out))
	return out, text
}

// bind binds a policy of the catalog with more of the binding's spec, and takes both away
// when the test ends.
func bind(t *testing.T, name string, mode v1alpha1.PolicyMode, more string) *v1alpha1.ClusterPolicyBinding {
	t.Helper()
	of, text := template(t, name)
	t.Cleanup(func() { clean(t, name) })
	must(t, world.Apply(t.Context(), text))
	must(t, world.Apply(t.Context(), fmt.Appendf(nil, `
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: %[1]s}
spec:
  tier: Mandatory
  mode: %[3]s
  policy: {name: %[1]s, version: %[2]s}
  contact: security@example.com
%[4]s`, name, of.Spec.Version, mode, more)))
	return &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// clean takes everything away that a test has stated, and waits until nothing of it is
// left.
func clean(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	must(t, errors.Join(
		world.client.DeleteAllOf(ctx, &v1alpha1.PolicyException{}, client.InNamespace("staging")),
		client.IgnoreNotFound(world.client.Delete(ctx, &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})),
		world.client.DeleteAllOf(ctx, &v1alpha1.PolicyTemplate{}),
		world.client.DeleteAllOf(ctx, &v1alpha1.Goal{}),
		world.Namespace(ctx, "test", map[string]string{"env": "test"}),
		world.open(ctx),
	))
}

// patch changes an object.
func patch(t *testing.T, o client.Object, text string) {
	t.Helper()
	must(t, world.client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(text))))
}

// except lets something of the application go for an hour, once it is approved.
func except(t *testing.T, binding, subject string) *v1alpha1.PolicyException {
	t.Helper()
	must(t, world.Apply(t.Context(), fmt.Appendf(nil, `
apiVersion: trellis.dev/v1alpha1
kind: PolicyException
metadata: {name: until-the-move, namespace: staging}
spec:
  binding: {kind: ClusterPolicyBinding, name: %s}
  subject: %s
  reason: the move of the team is not over yet
  expires: %s
`, binding, subject, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))))
	return &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "staging", Name: "until-the-move"}}
}

// approve approves an exception as it is now, or as it is once it expires at another time.
func approve(t *testing.T, e *v1alpha1.PolicyException, expires *metav1.Time) {
	t.Helper()
	must(t, world.client.Get(t.Context(), client.ObjectKeyFromObject(e), e))
	if expires != nil {
		e.Spec.Expires = *expires
	}
	digest, err := policy.Digest(e)
	must(t, err)
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "admin", Of: digest}
	must(t, world.client.Update(t.Context(), e))
}

// await waits for a condition about the current generation.
func await(t *testing.T, o client.Object, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, fmt.Sprintf("%s of %T %s to be %s %s", kind, o, o.GetName(), status, reason), func(ctx context.Context) error {
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		c := meta.FindStatusCondition(conditions(o), kind)
		if c == nil || c.Status != status || c.ObservedGeneration != o.GetGeneration() || reason != "" && c.Reason != reason {
			return fmt.Errorf("conditions are %+v", conditions(o))
		}
		return nil
	}))
}

// ready waits until an object is so in kstatus's eyes: Ready, and neither on its way nor
// stuck.
func ready(t *testing.T, o client.Object) {
	t.Helper()
	await(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, "")
	for _, kind := range []string{"Reconciling", v1alpha1.ConditionStalled} {
		if meta.IsStatusConditionTrue(conditions(o), kind) {
			t.Errorf("%T %s is Ready and %s: %+v", o, o.GetName(), kind, conditions(o))
		}
	}
}

func conditions(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.Application:
		return o.Status.Conditions
	case *v1alpha1.SecureIngress:
		return o.Status.Conditions
	case *v1alpha1.Goal:
		return o.Status.Conditions
	case *v1alpha1.PolicyTemplate:
		return o.Status.Conditions
	case *v1alpha1.ClusterPolicyBinding:
		return o.Status.Conditions
	case *v1alpha1.PolicyException:
		return o.Status.Conditions
	}
	return nil
}

// orders is the Application.
func orders() *v1alpha1.Application {
	return &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "staging", Name: "orders"}}
}

// holds waits until the Application shows that it is held to a binding, and how it stands.
func holds(t *testing.T, binding string, want v1alpha1.BoundPolicy) {
	t.Helper()
	want.Binding = "ClusterPolicyBinding " + binding
	of, _ := template(t, binding)
	want.Title, want.Contact = of.Spec.Title, "security@example.com"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, stack.Until(ctx, "the Application to show the policy", func(ctx context.Context) error {
		a := orders()
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		if !slices.Equal(a.Status.Policies, []v1alpha1.BoundPolicy{want}) {
			return fmt.Errorf("it shows %+v, want %+v", a.Status.Policies, want)
		}
		return nil
	}))
}
