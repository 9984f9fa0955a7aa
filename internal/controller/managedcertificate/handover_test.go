// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"bytes"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// owned states an ingress, and marks the certificate as made from it.
func (w *world) owned(tls v1alpha1.IngressTLS) {
	w.t.Helper()
	w.create(&v1alpha1.SecureIngress{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.shop, Name: "public"},
		Spec: v1alpha1.SecureIngressSpec{
			Domains: []v1alpha1.IngressDomain{{Name: "main", Domain: "example.com"}},
			Gateway: v1alpha1.IngressGateway{Service: "gateway"}, TLS: tls,
		},
	})
	w.change(func(c *v1alpha1.ManagedCertificate) {
		c.Labels = map[string]string{
			"trellis.dev/owner-kind": "SecureIngress", "trellis.dev/owner-namespace": w.shop, "trellis.dev/owner-name": "public",
		}
	})
}

func TestASecretStaysWhereAnotherEngineTakesItOver(t *testing.T) {
	for name, test := range map[string]struct {
		tls         v1alpha1.IngressTLS
		stays, copy bool
	}{
		"cert-manager": {v1alpha1.IngressTLS{CertManager: &v1alpha1.CertManagerCertificates{
			IssuerRef: v1alpha1.CertManagerIssuerReference{Name: "letsencrypt"},
		}}, true, false},
		"the user":             {v1alpha1.IngressTLS{SecretName: "web-tls"}, true, false},
		"a Secret of the user": {v1alpha1.IngressTLS{SecretName: "another"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
			w.issue()
			before := w.secret(w.shop, "web-tls")
			w.owned(test.tls)
			w.delete()
			after := w.secret(w.shop, "web-tls")
			if (after != nil) != test.stays {
				t.Fatalf("the Secret is there: %t", after != nil)
			}
			if got := w.secret(w.shop, "web-tls-last") != nil; got != test.copy {
				t.Errorf("the copy is there: %t", got)
			}
			if !test.stays {
				return
			}
			if !bytes.Equal(after.Data["tls.crt"], before.Data["tls.crt"]) || !bytes.Equal(after.Data["tls.key"], before.Data["tls.key"]) {
				t.Error("it is another pair")
			}
			// In cert-manager's words: not issued by whom you ask now.
			if after.Annotations[delegation.IssuerKindAnnotation] != "ManagedCertificate" || after.Labels["trellis.dev/placeholder"] != "" {
				t.Errorf("it is marked %v, %v", after.Annotations, after.Labels)
			}
		})
	}
}

func TestAPairOfCertManagerIsServedUntilThereIsOneOfOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.issue()
	kept := w.secret(w.shop, "web-tls")
	w.delete()
	// As where it was handed over.
	w.remove("web-tls-last")
	kept.ResourceVersion, kept.UID = "", ""
	kept.Annotations[delegation.CertificateNameAnnotation] = "web"
	kept.Annotations[delegation.IssuerNameAnnotation] = "authority"
	kept.OwnerReferences = []metav1.OwnerReference{{APIVersion: "cert-manager.io/v1", Kind: "Certificate", Name: "web", UID: "u"}}
	w.create(kept)
	w.create(w.wanted("HTTP01", "a.example.com"))
	if _, err := w.look(); err != nil {
		t.Fatal(err)
	}
	first := w.secret(w.shop, "web-tls")
	if !bytes.Equal(first.Data["tls.crt"], kept.Data["tls.crt"]) || len(first.OwnerReferences) > 0 {
		t.Errorf("at once, it has owners %v", first.OwnerReferences)
	}
	w.issue()
	last := w.secret(w.shop, "web-tls")
	if bytes.Equal(last.Data["tls.crt"], kept.Data["tls.crt"]) || w.ca.Orders() != 2 {
		t.Errorf("%d orders, and the pair of another engine for one of ours", w.ca.Orders())
	}
	if _, ok := last.Annotations[delegation.CertificateNameAnnotation]; ok || last.Annotations[delegation.IssuerNameAnnotation] != "web" {
		t.Errorf("it is marked %v", last.Annotations)
	}
}
