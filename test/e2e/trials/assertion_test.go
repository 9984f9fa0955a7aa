// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trials

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

const adminTemplate = `
metadata: {name: private-admin-1.0.0}
spec:
  policy: private-admin
  version: 1.0.0
  title: Nobody on the internet reaches what is for administrators
  severity: High
  remediation: {text: Let the route of the path ask for a login.}
  assertions:
  - name: denied-to-the-internet
    from: {internet: {}}
    request: {paths: "['/admin']"}
    expect: {verdict: Deny}
    message: somebody on the internet reaches /admin without a login
`

const adminBinding = `
metadata: {name: private-admin}
spec: {tier: Mandatory, mode: Enforce, policy: {name: private-admin, version: 1.0.0}, contact: security@example.com}
`

// administered has what the policy forbids, and no test of the Application's own.
var administered = []string{"paths: [{prefix: /productpage}]", "paths: [{prefix: /productpage}, {prefix: /static}, {prefix: /admin}]"}

// holds waits for what the binding says of the cluster.
func (m *mesh) holds(binding *v1alpha1.ClusterPolicyBinding, status metav1.ConditionStatus, parts ...string) {
	m.t.Helper()
	m.until(fmt.Sprintf("the binding to hold: %s", status), time.Minute, func(ctx context.Context) error {
		if err := m.client.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		c := meta.FindStatusCondition(binding.Status.Conditions, v1alpha1.ConditionHolds)
		if c == nil || c.Status != status {
			return fmt.Errorf("conditions are %+v", binding.Status.Conditions)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("it says %q", c.Message)
			}
		}
		return nil
	})
}

// asserted binds a policy that asserts something of every Application.
func (m *mesh) asserted(t *testing.T) {
	m.t = t
	template, binding := &v1alpha1.PolicyTemplate{}, &v1alpha1.ClusterPolicyBinding{}
	must(t, yaml.UnmarshalStrict([]byte(adminTemplate), template))
	must(t, yaml.UnmarshalStrict([]byte(adminBinding), binding))
	must(t, m.client.Create(t.Context(), template))
	// The webhook of bindings is not there before its cache has the template.
	m.until("the binding to be admitted", 30*time.Second, func(ctx context.Context) error { return m.client.Create(ctx, binding) })
	m.holds(binding, metav1.ConditionTrue)

	err := m.change(administered...)
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, want := range []string{
		`spec: somebody on the internet reaches /admin without a login: assertion "denied-to-the-internet": it is Allow, and Deny was expected`,
		"by: Application bookinfo/productpage spec.exposures[0].routes[0]",
		"rule: ClusterPolicyBinding private-admin (policy private-admin 1.0.0; ask security@example.com)",
		"do: Let the route of the path ask for a login, or ask for an exception from ClusterPolicyBinding private-admin",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal does not say %q:\n%v", want, err)
		}
	}

	m.stopServer()
	must(t, m.change(administered...))
	m.await(v1alpha1.ConditionAccepted, metav1.ConditionUnknown, "AwaitingTests")
	m.holds(binding, metav1.ConditionUnknown)
	m.still("/admin", 403)
	m.serve()
	m.await(v1alpha1.ConditionAccepted, metav1.ConditionFalse, "TestsFailed")
	m.still("/admin", 403)
	m.still("/static", 200)

	must(t, m.client.Delete(t.Context(), binding))
	m.await(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "")
	m.answers("/admin", 200)
	must(t, m.client.Delete(t.Context(), template))
	m.until("the statement to be taken back", 10*time.Second, func(context.Context) error { return m.change(extended...) })
	m.await(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	m.answers("/admin", 403)
}
