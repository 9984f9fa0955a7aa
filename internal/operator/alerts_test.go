// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/test/metricstore"
)

// expired makes the Secret of the gateway hold a certificate that has expired.
func (w *world) expired() {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: w.domain}, DNSNames: []string{"*." + w.domain},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.client.Update(w.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.gateway, Name: "wildcard"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// alert is one that Prometheus tells of.
type alert struct {
	Labels map[string]string `json:"labels"`
	State  string            `json:"state"`
}

func alerts(ctx context.Context, url string) ([]alert, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/alerts", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Data struct {
			Alerts []alert `json:"alerts"`
		} `json:"data"`
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.Data.Alerts, err
}

// awaitAlert waits until an alert about an object is in a state; empty: there is none.
func (w *world) awaitAlert(url, name, namespace, object, state string) {
	w.t.Helper()
	w.await(fmt.Sprintf("the alert %s about %s/%s to be %q", name, namespace, object, state), func(ctx context.Context) error {
		all, err := alerts(ctx, url)
		if err != nil {
			return err
		}
		is := ""
		for _, a := range all {
			if a.Labels["alertname"] == name && a.Labels["namespace"] == namespace && a.Labels["name"] == object {
				is = a.State
			}
		}
		if is != state {
			return fmt.Errorf("it is %q; there are %v", is, all)
		}
		return nil
	})
}

func TestPrometheusAlertsWhenACertificateExpiresAnEditIsPutBackAndTheOperatorGoes(t *testing.T) {
	w := newWorld(t, server)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.options.MetricsAddress = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	store := metricstore.StartScraping(t, "../../charts/trellis/files/monitoring/rules.yaml", w.options.MetricsAddress)
	w.published()

	w.expired()
	w.awaitAlert(store.URL, "TrellisCertificateExpired", w.gateway, "wildcard", "firing")
	w.awaitAlert(store.URL, "TrellisOperatorDown", "", "", "")
	if _, err := server.Certificate(t.Context(), w.gateway, "wildcard", "*."+w.domain); err != nil {
		t.Fatal(err)
	}
	w.awaitAlert(store.URL, "TrellisCertificateExpired", w.gateway, "wildcard", "")

	// It is the first of its kind.
	edited := w.one("VirtualService", w.gateway, nil)
	if err := w.client.Patch(t.Context(), edited, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"hosts":["elsewhere.example.com"]}}`))); err != nil {
		t.Fatal(err)
	}
	w.awaitAlert(store.URL, "TrellisEditsReverted", "", "", "firing")

	w.stop()
	w.awaitAlert(store.URL, "TrellisOperatorDown", "", "", "pending")
}
