// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// definition defines another controller's kind as loosely as can be.
func definition(t *testing.T, gvk schema.GroupVersionKind, resource string) {
	t.Helper()
	err := apiServer.InstallCRDs(t.Context(), fmt.Appendf(nil, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[1]s.%[2]s
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: %[2]s
  scope: Namespaced
  names: {kind: %[3]s, plural: %[1]s, listKind: %[3]sList}
  versions:
  - name: %[4]s
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, resource, gvk.Group, gvk.Kind, gvk.Version))
	if err != nil {
		t.Fatal(err)
	}
}

func handedOver(gvk schema.GroupVersionKind, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace("delegated")
	u.SetName(name)
	u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "trellis"})
	return u
}

func TestWhatOtherControllersKeepIsShownToo(t *testing.T) {
	c := cluster(t)
	definition(t, delegation.CertificateKind, "certificates")
	definition(t, delegation.EndpointKind, "dnsendpoints")
	certificate := func(name, host string, status map[string]any) {
		have(t, c, handedOver(delegation.CertificateKind, name, map[string]any{"dnsNames": []any{host}, "secretName": name}), func(u *unstructured.Unstructured) {
			u.Object["status"] = status
		})
	}
	ready := func(status, message string) any {
		return map[string]any{"type": "Ready", "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}
	}
	certificate("good", "shop.example.com", map[string]any{
		"notAfter": time.Now().Add(100*24*time.Hour + time.Minute).UTC().Format(time.RFC3339), "conditions": []any{ready("True", "up to date")},
	})
	if got := trellis(t, "", "cert", "status", "-n", "delegated"); got.code != 0 || !strings.Contains(got.out, "in 100d") || !strings.Contains(got.out, "by cert-manager: up to date") {
		t.Errorf("%+v", got)
	}
	certificate("bad", "blog.example.com", map[string]any{"failedIssuanceAttempts": int64(2), "conditions": []any{
		ready("False", "no Secret"),
		map[string]any{"type": "Issuing", "status": "False", "reason": "Failed", "message": "CAA forbids it", "lastTransitionTime": "2026-01-01T00:00:00Z"},
	}})
	certificate("new", "new.example.com", map[string]any{})
	for name, want := range map[string]struct {
		code int
		says string
	}{
		"shop.example.com": {0, "Issued"}, "bad": {2, "CAA forbids it"}, "new.example.com": {0, "Unseen"},
	} {
		if got := trellis(t, "", "cert", "status", name, "-n", "delegated"); got.code != want.code || !strings.Contains(got.out, want.says) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	entry := func(host string, observed int64, endpoints ...any) {
		have(t, c, handedOver(delegation.EndpointKind, "trellis-endpoint-public."+host, map[string]any{"endpoints": endpoints}), func(u *unstructured.Unstructured) {
			u.Object["status"] = map[string]any{"observedGeneration": observed}
		})
	}
	to := func(host string) any {
		return map[string]any{"dnsName": host, "recordType": "A", "targets": []any{"192.0.2.7"}}
	}
	entry("shop.example.com", 1, to("shop.example.com"))
	entry("blog.example.com", 0, to("blog.example.com"))
	entry("new.example.com", 1)
	for name, says := range map[string]string{
		"shop.example.com": "HandedOver", "blog.example.com": "--source=crd", "trellis-endpoint-public.new.example.com": "Held",
	} {
		if got := trellis(t, "", "dns", "status", name, "-n", "delegated"); got.code != 0 || !strings.Contains(got.out, says) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
