// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/chart"
)

// people have the chart's roles as they are meant to be bound: dora develops in the
// namespace shop and may see what the cluster holds her to, paul runs the platform, olga
// is the security officer, lena leads the team shop and may approve exceptions from the
// team's own binding, and vera looks.
const people = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dora, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-application-developer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dora}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dora-views, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-viewer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dora}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: paul}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-platform-operator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: paul}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: olga}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-security-officer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: olga}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vera}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-viewer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: vera}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lena, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trellis-application-developer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: lena}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: approver, namespace: shop}
rules: [{apiGroups: [trellis.dev], resources: [policybindings], resourceNames: [ours], verbs: [approve]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lena-approves, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: approver}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: lena}]
---
# Whom developers of the mesh are: they may write Istio's objects, and all kinds of workloads.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istio-editor}
rules:
- apiGroups: [security.istio.io, networking.istio.io]
  resources: ["*"]
  verbs: ["*"]
- apiGroups: [trellis.dev]
  resources: [managedcertificates]
  verbs: [get, update, patch, delete]
- apiGroups: [apps]
  resources: ["*"]
  verbs: ["*"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dora-istio, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istio-editor}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dora}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator-istio, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istio-editor}
subjects: [{kind: ServiceAccount, name: trellis-operator, namespace: trellis-system}]
`

// admit applies the chart's roles for people, its guards, and who is who.
func (c *cluster) admit(t *testing.T) {
	t.Helper()
	manifest, err := chart.Template(t.Context(), "--show-only", "templates/user-roles.yaml", "--show-only", "templates/guards.yaml")
	must(t, err)
	must(t, c.Apply(t.Context(), manifest))
	must(t, c.Apply(t.Context(), []byte(people)))
}

// as is a client of a user.
func (c *cluster) as(t *testing.T, user string) client.Client {
	t.Helper()
	config := c.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	out, err := newClient(config)
	must(t, err)
	return out
}

// may asks the API server.
func (c *cluster) may(t *testing.T, user, verb, resource, namespace string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: []string{"system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: v1alpha1.GroupName, Resource: resource, Verb: verb, Namespace: namespace},
	}}
	must(t, c.api.Create(context.WithoutCancel(t.Context()), review))
	return review.Status.Allowed
}

func TestEveryRoleMayDoItsOwnAndNoMore(t *testing.T) {
	shared.admit(t)
	const cluster = ""
	for _, row := range []struct {
		verb, resource, namespace string
		// who may; everybody else may not.
		who string
	}{
		{"create", "applications", "shop", "dora lena"},
		{"create", "applications", "rival", ""},
		{"get", "applications", "shop", "dora lena olga vera"},
		{"get", "applications", "rival", "olga vera"},
		{"create", "policybindings", "shop", "dora lena"},
		{"update", "policybindings", "rival", ""},
		{"get", "policybindings", "rival", "olga vera"},
		{"create", "policyexceptions", "shop", "dora lena"},
		{"create", "policyexceptions", "rival", ""},
		{"patch", "policyexceptions", "shop", "dora lena olga"},
		{"patch", "policyexceptions", "rival", "olga"},
		{"approve", "policybindings", "shop", "olga"},
		{"approve", "clusterpolicybindings", cluster, "olga"},
		{"create", "clusterpolicybindings", cluster, "olga"},
		{"get", "clusterpolicybindings", cluster, "olga vera"},
		{"create", "policytemplates", cluster, "olga"},
		{"delete", "goals", cluster, "olga"},
		{"get", "goals", cluster, "olga vera"},
		{"create", "secureingresses", "istio-ingress", "paul"},
		{"get", "secureingresses", "istio-ingress", "olga paul vera"},
		{"update", "hostclaims", cluster, "paul"},
		{"get", "hostclaims", cluster, "olga paul"},
		{"create", "dnsproviders", "istio-ingress", "paul"},
		{"create", "mutualtlsrollouts", cluster, "paul"},
		{"patch", "managedcertificates", "istio-ingress", "paul"},
		{"override", "generatedobjects", "shop", ""},
	} {
		got := ""
		for _, user := range []string{"dora", "lena", "olga", "paul", "vera"} {
			if shared.may(t, user, row.verb, row.resource, row.namespace) {
				got += " " + user
			}
		}
		if want := row.who; got != "" && got[1:] != want || got == "" && want != "" {
			t.Errorf("%s: who may is%s, want %s", fmt.Sprint(row.verb, " ", row.resource, " in ", row.namespace), got, want)
		}
	}
}
