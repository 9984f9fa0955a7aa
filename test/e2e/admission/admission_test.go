// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/webhook"
	"github.com/trellis-mesh/trellis/test/stack/loopback"
)

func TestAnAPIServerRefusesWhatTheWebhookRefuses(t *testing.T) {
	address := loopback.Unused(t)
	shared.register(t, address)
	_, stop := shared.serve(t, address, clock.RealClock{})
	ctx, api := t.Context(), shared.api

	t.Run("documents can be applied in any order, with warnings", func(t *testing.T) {
		app := read(t, application("shop", "", ""))
		must(t, api.Create(ctx, app))
		if got := shared.warnings.take(); !strings.Contains(got, "ServiceNotFound") || !strings.Contains(got, "NamespaceNotAdmitted") {
			t.Errorf("an Application before its Service and its ingress got the warnings %q", got)
		}
		ingress := read(t, secureIngress)
		must(t, api.Create(ctx, ingress))
		if got := shared.warnings.take(); !strings.Contains(got, "SecretNotFound") {
			t.Errorf("a SecureIngress before its Secret got the warnings %q", got)
		}
		must(t, api.Create(ctx, read(t, hostClaim)))
	})

	t.Run("a refusal says what, why, whose rule and what to do", func(t *testing.T) {
		err := api.Create(ctx, read(t, application("rival", "", "")))
		if !apierrors.IsInvalid(err) {
			t.Fatalf("got %v, want a refusal", err)
		}
		for _, want := range []string{"applications.trellis.dev", "spec.exposures[0]", "belongs to namespace shop", "rule: HostClaim shop.example.com", "do: use another"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the refusal does not say %q: %v", want, err)
			}
		}
		var status apierrors.APIStatus
		if !errors.As(err, &status) || len(status.Status().Details.Causes) != 1 || status.Status().Details.Causes[0].Field == "" {
			t.Errorf("machines cannot read the cause: %+v", status)
		}
	})

	t.Run("a dry run is answered in the same way and leaves nothing", func(t *testing.T) {
		other := application("rival", "hostnames: [shop]", "hostnames: [rival]")
		must(t, api.Create(ctx, read(t, other), client.DryRunAll))
		if err := api.Get(ctx, client.ObjectKey{Namespace: "rival", Name: "web"}, read(t, other)); !apierrors.IsNotFound(err) {
			t.Errorf("a dry run left something: %v", err)
		}
	})

	stop()
	t.Run("while nobody answers, changes wait and deletions do not", func(t *testing.T) {
		err := api.Create(ctx, read(t, application("rival", "hostnames: [shop]", "hostnames: [rival]")))
		if err == nil {
			t.Error("a change was admitted unseen")
		}
		for _, text := range []string{application("shop", "", ""), secureIngress, hostClaim} {
			if err := api.Delete(ctx, read(t, text)); err != nil {
				t.Errorf("a deletion was held up: %v", err)
			}
		}
	})
}

func TestReplicasShareOneCertificateThatIsReplacedInTime(t *testing.T) {
	ctx, api := t.Context(), shared.api
	first, second := loopback.Unused(t), loopback.Unused(t)
	shared.register(t, first)
	// API servers go by the real time: so will the renewed certificate.
	today := time.Now()
	now := clocktesting.NewFakeClock(today.Add(-61 * 24 * time.Hour))
	a, _ := shared.serve(t, first, now)
	b, stopB := shared.serve(t, first2(t, second), now)
	defer stopB()
	before := served(t, first)
	if !bytes.Equal(before.Raw, served(t, second).Raw) {
		t.Error("two replicas serve different certificates")
	}

	t.Run("a registration that somebody has overwritten is put right", func(t *testing.T) {
		edit(t, func(c *admissionregistrationv1.WebhookClientConfig) { c.CABundle = nil })
		now.Step(11 * time.Second)
		shared.until(t, "the authority to be back", func(ctx context.Context) error { return registered(ctx, before) })
	})

	t.Run("a certificate near its end is replaced while API servers keep asking", func(t *testing.T) {
		now.SetTime(today)
		must(t, a.Ensure(ctx))
		// B has not looked yet and serves the old one, which is trusted still.
		refuses(t, "with the old certificate in service and the new authority registered")
		if !bytes.Equal(served(t, second).Raw, before.Raw) {
			t.Error("a replica changed its certificate before API servers could have heard of the authority")
		}
		must(t, b.Ensure(ctx))
		must(t, b.Ensure(ctx))
		must(t, a.Ensure(ctx))
		after := served(t, first)
		if bytes.Equal(after.Raw, before.Raw) || !bytes.Equal(after.Raw, served(t, second).Raw) {
			t.Error("the replicas do not both serve the new certificate")
		}
		must(t, registered(ctx, after))
		// Connections that are open already would hide a certificate that is not
		// trusted.
		stopB()
		shared.serve(t, second, now)
	})

	t.Run("the Secret has no key that could sign another certificate", func(t *testing.T) {
		var secret corev1.Secret
		must(t, api.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: webhook.SecretName}, &secret))
		if len(secret.Data) != 3 || bytes.Count(secret.Data["tls.key"], []byte("PRIVATE KEY")) != 2 || bytes.Contains(secret.Data["ca.crt"], []byte("PRIVATE")) {
			t.Errorf("the Secret holds %d entries", len(secret.Data))
		}
	})
}

// first2 makes the API server ask the second replica from here on.
func first2(t *testing.T, address string) string {
	t.Helper()
	edit(t, func(c *admissionregistrationv1.WebhookClientConfig) {
		url := "https://" + address + (*c.URL)[strings.LastIndex(*c.URL, "/"):]
		c.URL = &url
	})
	return address
}

func edit(t *testing.T, change func(*admissionregistrationv1.WebhookClientConfig)) {
	t.Helper()
	var r admissionregistrationv1.ValidatingWebhookConfiguration
	must(t, shared.api.Get(t.Context(), client.ObjectKey{Name: registration}, &r))
	for i := range r.Webhooks {
		change(&r.Webhooks[i].ClientConfig)
	}
	must(t, shared.api.Update(t.Context(), &r))
}

// served is the certificate that a replica presents.
func served(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // to look at it
	must(t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0]
}

// registered checks that API servers trust a certificate.
func registered(ctx context.Context, certificate *x509.Certificate) error {
	var r admissionregistrationv1.ValidatingWebhookConfiguration
	if err := shared.api.Get(ctx, client.ObjectKey{Name: registration}, &r); err != nil {
		return err
	}
	for _, w := range r.Webhooks {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(w.ClientConfig.CABundle)
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1", CurrentTime: certificate.NotAfter.Add(-time.Hour)}); err != nil {
			return fmt.Errorf("webhook %s: %w", w.Name, err)
		}
	}
	return nil
}

// refuses checks that the API server gets an answer from the webhook.
func refuses(t *testing.T, when string) {
	t.Helper()
	err := shared.api.Create(t.Context(), read(t, application("shop", "prefix: /pages", "prefix: /pages/../x")), client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), "PathInvalid") {
		t.Errorf("%s: a bad path is answered: %v", when, err)
	}
}
