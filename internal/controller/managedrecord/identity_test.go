// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// ambient are specs that leave it to the pod who we are; with a Secret where ref is
// not nil.
func ambient(ref *v1alpha1.SecretReference) map[string]v1alpha1.DNSProviderSpec {
	return map[string]v1alpha1.DNSProviderSpec{
		"route53": {Route53: &v1alpha1.Route53Provider{CredentialsSecretRef: ref}},
		"azure":   {Azure: &v1alpha1.AzureProvider{SubscriptionID: "11111111-2222-3333-4444-555555555555", CredentialsSecretRef: ref}},
		"google":  {Google: &v1alpha1.GoogleProvider{Project: "ours", CredentialsSecretRef: ref}},
	}
}

func TestAnEndpointIsOnlyForCredentialsOfASecretAndForTLS(t *testing.T) {
	w := newWorld(t)
	ref := &v1alpha1.SecretReference{Name: "aws"}
	for text, spec := range map[string]v1alpha1.Route53Provider{
		"endpoint needs credentialsSecretRef": {Endpoint: "https://route53.example.net"},
		"^https://":                           {Endpoint: "http://route53.example.net", CredentialsSecretRef: ref},
	} {
		err := w.client.Create(w.Context(), &v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: v1alpha1.DNSProviderSpec{Route53: &spec}})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: the API server says %v, want %q in it", spec, err, text)
		}
	}
}

// counted are requests that nothing answers.
type counted struct{ n atomic.Int64 }

func (c *counted) RoundTrip(*http.Request) (*http.Response, error) {
	c.n.Add(1)
	return nil, errKilled
}

func TestASecretWithEmptyValuesIsNoWayToThePodsIdentity(t *testing.T) {
	keys := map[string]map[string]string{
		"route53": {"accessKeyID": " ", "secretAccessKey": "\n"}, "azure": {"clientSecret": "\n"}, "google": {"key.json": " \n"},
	}
	for name, spec := range ambient(&v1alpha1.SecretReference{Name: "credentials"}) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			calls := &counted{}
			w.vendors.Transport = calls
			w.restart()
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: spec})
			w.secret("credentials", keys[name])
			w.want("shop", "shop."+zone, addresses("192.0.2.1"))
			w.reconcile()
			w.providerIs("SecretInvalid", "is empty")
			w.is("shop", dns.PhaseBlocked, "SecretInvalid")
			if n := calls.n.Load(); n != 0 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

func TestThePodsIdentityIsLentToSomeNamespacesOnly(t *testing.T) {
	for name, spec := range ambient(nil) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			calls := &counted{}
			w.vendors.Transport, w.identity = calls, []string{"trellis-system"}
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOPERATOR")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "the-operators-secret")
			w.restart()
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: spec})
			w.want("shop", "shop."+zone, addresses("192.0.2.1"))
			w.reconcile()
			w.providerIs("CredentialsForbidden", "trellis-system", "add "+w.namespace+" to the value dns.identityNamespaces", "spec."+name)
			w.is("shop", dns.PhaseBlocked, "CredentialsForbidden", w.namespace+"/dns")
			if n := calls.n.Load(); n != 0 {
				t.Errorf("%d requests were made with the pod's identity", n)
			}
			w.identity = append(w.identity, w.namespace)
			w.restart()
			w.reconcile()
			for _, c := range w.dns().Status.Conditions {
				if c.Reason == "CredentialsForbidden" {
					t.Errorf("it is still refused: %s", c.Message)
				}
			}
		})
	}
}

func TestWhatIsDeletedAfterItsSecretIsTakenBackWithTheCredentialsReadLast(t *testing.T) {
	w := withZone(t, nameserver.Process)
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.want("blog", "blog."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.remove(&corev1.Secret{ObjectMeta: w.meta("tsig")})
	// It is seen missing once before anything else goes.
	w.reconcile()
	w.providerIs("SecretNotFound", "tsig")
	w.is("shop", dns.PhaseBlocked, "SecretNotFound")
	shop := w.record("shop")
	w.remove(shop)
	w.change("blog", addresses("192.0.2.9"))
	w.want("new", "new."+zone, addresses("192.0.2.1"))
	w.reconcile()
	if w.there(shop) {
		t.Errorf("it is kept: %+v", shop.Status)
	}
	// What lives is not written with credentials that are gone.
	w.has("blog.example.test A → 192.0.2.1")
	w.is("blog", dns.PhaseBlocked, "SecretNotFound")
	w.is("new", dns.PhaseBlocked, "SecretNotFound")
	w.providerIs("SecretNotFound", "tsig")

	w.restart()
	blog := w.record("blog")
	w.remove(blog)
	w.reconcile()
	w.is("blog", dns.PhaseBlocked, "SecretNotFound", "spec.deletionPolicy to Retain", "namespace is being deleted", "SecureIngresses first")
	w.change("blog", func(s *v1alpha1.ManagedRecordSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.reconcile()
	if w.there(blog) {
		t.Errorf("it is kept: %+v", blog.Status)
	}
}

func TestALabelOnASecretIsNoOtherAccount(t *testing.T) {
	w, s := withRoute53(t)
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret"})
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.reconcile()
	w.is("shop", dns.PhaseDone, "Done")
	w.reconcile()
	asked := func() int { return s.Calls("ListHostedZones") + s.Calls("ListResourceRecordSets") }
	calls := asked()
	secret := &corev1.Secret{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: w.namespace, Name: "aws"}, secret); err != nil {
		t.Fatal(err)
	}
	secret.Labels = map[string]string{"team": "dns"}
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if n := asked() - calls; n != 0 || calls == 0 {
		t.Errorf("for a label all was forgotten, and asked again by %d calls after %d", n, calls)
	}
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "bad-secret"})
	w.reconcile()
	w.providerIs("CredentialsInvalid")
}

func TestTheNameOfADNSProviderHasNoDots(t *testing.T) {
	w := newWorld(t)
	err := w.client.Create(w.Context(), &v1alpha1.DNSProvider{ObjectMeta: w.meta("a.b"), Spec: ambient(nil)["route53"]})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "without dots") {
		t.Errorf("the API server says %v", err)
	}
}
