// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/load"
)

const (
	// SecretName is the Secret with the serving certificate.
	SecretName = "trellis-webhook"
	// authoritiesKey is where the trusted authorities are in it.
	authoritiesKey = "ca.crt"
	// checkEvery bounds how long a registration that somebody has overwritten
	// stays without our authority.
	checkEvery = 10 * time.Second
)

// IdentityConfig is what an Identity is made from. All of it is required.
type IdentityConfig struct {
	// Client must not read from a cache. It needs get and update on the Secret of
	// Namespace (and create where nobody has created it empty), and get and update
	// on the registration.
	Client client.Client
	// Namespace is the operator's, and Secret the name of the Secret in it; default
	// SecretName.
	Namespace, Secret string
	// Registration is the name of the ValidatingWebhookConfiguration.
	Registration string
	// Names are the names and addresses by which API servers call.
	Names  []string
	Clock  clock.Clock
	Random io.Reader
	Log    *slog.Logger
}

// ServiceNames are the names by which API servers call a webhook through the
// chart's Service, and a loopback address for an operator outside the cluster.
func ServiceNames(namespace string) []string { return namesOf("trellis-webhook", namespace) }

// ServerNames are those by which trellis-server is called, likewise.
func ServerNames(namespace string) []string { return namesOf("trellis-server", namespace) }

func namesOf(name, namespace string) []string {
	service := name + "." + namespace + ".svc"
	return []string{service, service + ".cluster.local", "localhost", "127.0.0.1"}
}

// Identity is the webhook's serving certificate: it makes it, shares it with
// other replicas through a Secret, replaces it in time, and keeps the authority
// in the registration. It is safe for concurrent use.
type Identity struct {
	presented
	config IdentityConfig
}

// NewIdentity makes an Identity without a certificate yet.
func NewIdentity(config IdentityConfig) *Identity {
	if config.Secret == "" {
		config.Secret = SecretName
	}
	return &Identity{config: config, presented: presented{problem: errNone}}
}

// Roots are the authorities that have signed the certificate, for who calls what it
// is presented by.
func (i *Identity) Roots() (*x509.CertPool, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(i.authorities) {
		return nil, i.problem
	}
	return roots, nil
}

// Start checks Secret and registration until ctx ends. What fails is logged and
// tried again; the certificate that is there is served meanwhile.
func (i *Identity) Start(ctx context.Context) error {
	for {
		if err := i.Ensure(ctx); err != nil && ctx.Err() == nil {
			i.config.Log.Error("keeping the webhook's certificate", "error", err)
		}
		timer := i.config.Clock.NewTimer(checkEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
	}
}

// Ensure makes Secret and registration what they should be, once.
func (i *Identity) Ensure(ctx context.Context) error {
	var b bundle
	var pair *tls.Certificate
	lost := func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
	err := retry.OnError(retry.DefaultBackoff, lost, func() error {
		var err error
		b, pair, err = i.ensureSecret(ctx)
		return err
	})
	if err != nil {
		err = fmt.Errorf("keeping Secret %s/%s: %w", i.config.Namespace, i.config.Secret, err)
		i.fail(err)
		return err
	}
	err = retry.OnError(retry.DefaultBackoff, lost, func() error { return i.register(ctx, b.authorities) })
	if err != nil {
		err = fmt.Errorf("keeping ValidatingWebhookConfiguration %s: %w", i.config.Registration, err)
		i.fail(err)
		return err
	}
	i.adopt(pair, b)
	return nil
}

// ensureSecret returns what the Secret holds, after it has replaced what is
// missing, wrong or about to end. When several replicas do so at once, one wins
// and the others read what it wrote.
func (i *Identity) ensureSecret(ctx context.Context) (bundle, *tls.Certificate, error) {
	secret := &corev1.Secret{}
	err := i.config.Client.Get(ctx, client.ObjectKey{Namespace: i.config.Namespace, Name: i.config.Secret}, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return bundle{}, nil, err
	}
	now := i.config.Clock.Now()
	b := bundle{secret.Data[authoritiesKey], secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]}
	if pair, err := b.usable(i.config.Names, now); err == nil {
		return b, pair, nil
	}
	if b, err = newBundle(i.config.Names, b, now, i.config.Random); err != nil {
		return bundle{}, nil, err
	}
	pair, err := b.usable(i.config.Names, now)
	if err != nil {
		return bundle{}, nil, err
	}
	if missing {
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: i.config.Namespace, Name: i.config.Secret,
				Labels: map[string]string{load.ManagedByLabel: load.ManagedBy},
			},
			Type: corev1.SecretTypeOpaque,
		}
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[authoritiesKey], secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = b.authorities, b.certificate, b.key
	if missing {
		return b, pair, i.config.Client.Create(ctx, secret)
	}
	return b, pair, i.config.Client.Update(ctx, secret)
}

// register puts the authorities into every webhook of the registration. No
// registration: nobody calls, and nothing is to be done.
func (i *Identity) register(ctx context.Context, authorities []byte) error {
	registration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	err := i.config.Client.Get(ctx, client.ObjectKey{Name: i.config.Registration}, registration)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	changed := false
	for k := range registration.Webhooks {
		if c := &registration.Webhooks[k].ClientConfig; !bytes.Equal(c.CABundle, authorities) {
			c.CABundle, changed = authorities, true
		}
	}
	if !changed {
		return nil
	}
	return i.config.Client.Update(ctx, registration)
}
