// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"

	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	repository = "../.."
	namespace  = Namespace
)

// kinds are the Kubernetes types that the chart may render; another kind fails.
var kinds = map[string]func() client.Object{
	"v1 ConfigMap":                                    func() client.Object { return new(corev1.ConfigMap) },
	"v1 ServiceAccount":                               func() client.Object { return new(corev1.ServiceAccount) },
	"v1 PersistentVolumeClaim":                        func() client.Object { return new(corev1.PersistentVolumeClaim) },
	"telemetry.istio.io/v1 Telemetry":                 func() client.Object { return new(telemetryv1.Telemetry) },
	"v1 Service":                                      func() client.Object { return new(corev1.Service) },
	"apps/v1 Deployment":                              func() client.Object { return new(appsv1.Deployment) },
	"rbac.authorization.k8s.io/v1 Role":               func() client.Object { return new(rbacv1.Role) },
	"rbac.authorization.k8s.io/v1 ClusterRole":        func() client.Object { return new(rbacv1.ClusterRole) },
	"rbac.authorization.k8s.io/v1 RoleBinding":        func() client.Object { return new(rbacv1.RoleBinding) },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() client.Object { return new(rbacv1.ClusterRoleBinding) },
	"apiextensions.k8s.io/v1 CustomResourceDefinition": func() client.Object {
		return new(apiextensionsv1.CustomResourceDefinition)
	},
	"admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration": func() client.Object {
		return new(admissionv1.ValidatingWebhookConfiguration)
	},
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy": func() client.Object {
		return new(admissionv1.ValidatingAdmissionPolicy)
	},
	// Those of the Prometheus operator, whose types nothing else needs: tests read the fields.
	"monitoring.coreos.com/v1 PrometheusRule": func() client.Object { return new(unstructured.Unstructured) },
	"monitoring.coreos.com/v1 PodMonitor":     func() client.Object { return new(unstructured.Unstructured) },
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": func() client.Object {
		return new(admissionv1.ValidatingAdmissionPolicyBinding)
	},
}

// render returns the objects that Helm makes of the chart with these values.
func render(t *testing.T, values ...string) []client.Object {
	t.Helper()
	text, err := template(t, values...)
	if err != nil {
		t.Fatalf("rendering the chart with %v: %v", values, err)
	}
	var objects []client.Object
	for document := range strings.SplitSeq(text, "\n---\n") {
		if object := decode(t, document); object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}

// template runs helm template with values; the error carries what Helm said.
func template(t *testing.T, values ...string) (string, error) {
	t.Helper()
	var arguments []string
	for _, value := range values {
		arguments = append(arguments, "--set-json", value)
	}
	manifest, err := Template(t.Context(), arguments...)
	return string(manifest), err
}

// decode reads one document strictly: a field that its type does not have fails.
// It returns nil for a document that is only comments.
func decode(t *testing.T, document string) client.Object {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
		t.Fatalf("parsing a rendered document: %v\n%s", err, document)
	}
	if meta.Kind == "" {
		return nil
	}
	create := kinds[meta.APIVersion+" "+meta.Kind]
	if create == nil {
		t.Fatalf("the chart renders %s %s, which the tests do not know", meta.APIVersion, meta.Kind)
	}
	object := create()
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		t.Fatalf("parsing %s as its type: %v\n%s", meta.Kind, err, document)
	}
	return object
}

// only returns the objects of one type.
func only[T client.Object](objects []client.Object) []T {
	var found []T
	for _, object := range objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// theOnly returns the one object of a type, and fails for none or several.
func theOnly[T client.Object](t *testing.T, objects []client.Object) T {
	t.Helper()
	found := only[T](objects)
	if len(found) != 1 {
		t.Fatalf("the chart renders %d objects of type %T, want one", len(found), *new(T))
	}
	return found[0]
}
