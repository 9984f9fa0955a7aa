// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ServerSecretName is the Secret with the serving certificate of trellis-server,
	// which the operator keeps and the server reads.
	ServerSecretName = "trellis-server"
	// lookEvery is how often a server without a certificate looks for one.
	lookEvery = time.Second
)

// errNone is the problem until something else is known.
var errNone = errors.New("there is no certificate yet")

// presented is a certificate that is presented, and how it is replaced.
type presented struct {
	mu      sync.RWMutex
	serving *tls.Certificate
	// authorities are those that were seen last.
	authorities []byte
	// seen is the certificate of the last check. A renewed one is served when it
	// is seen again: by then API servers have heard of its authority.
	seen    []byte
	problem error
}

// GetCertificate is for tls.Config.
func (p *presented) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.serving == nil {
		return nil, p.problem
	}
	return p.serving, nil
}

// Check is a readiness check: it fails until there is a certificate.
func (p *presented) Check(*http.Request) error {
	_, err := p.GetCertificate(nil)
	return err
}

// NeedLeaderElection is false: every replica answers.
func (*presented) NeedLeaderElection() bool { return false }

func (p *presented) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problem = err
}

// adopt serves the first certificate at once, and a renewed one from the next
// check on.
func (p *presented) adopt(pair *tls.Certificate, b bundle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving == nil || bytes.Equal(p.seen, b.certificate) {
		p.serving = pair
	}
	p.seen, p.authorities = b.certificate, b.authorities
}

// Reader presents a certificate that somebody else keeps in a Secret. It is safe for
// concurrent use.
type Reader struct {
	presented
	config ReaderConfig
}

// ReaderConfig is what a Reader is made from. All of it is required.
type ReaderConfig struct {
	// Client must not read from a cache: it needs get on the Secret and nothing else.
	Client            client.Client
	Namespace, Secret string
	Clock             clock.Clock
	Log               *slog.Logger
}

// NewReader makes a Reader without a certificate yet.
func NewReader(config ReaderConfig) *Reader {
	return &Reader{config: config, presented: presented{problem: errNone}}
}

// Start looks at the Secret until ctx ends. What fails is logged once and tried
// again; the certificate that is there is served meanwhile.
func (r *Reader) Start(ctx context.Context) error {
	last := ""
	for {
		err := r.read(ctx)
		if err != nil && ctx.Err() == nil {
			r.fail(err)
			if err.Error() != last {
				r.config.Log.Warn("no certificate can be read", "error", err)
			}
		}
		last = fmt.Sprint(err)
		wait := checkEvery
		if r.Check(nil) != nil {
			wait = lookEvery
		}
		timer := r.config.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
	}
}

func (r *Reader) read(ctx context.Context) error {
	secret := &corev1.Secret{}
	if err := r.config.Client.Get(ctx, client.ObjectKey{Namespace: r.config.Namespace, Name: r.config.Secret}, secret); err != nil {
		return fmt.Errorf("reading Secret %s/%s, which the operator makes: %w", r.config.Namespace, r.config.Secret, err)
	}
	b := bundle{secret.Data[authoritiesKey], secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]}
	pair, err := tls.X509KeyPair(b.certificate, b.key)
	if err != nil {
		return fmt.Errorf("reading the certificate in Secret %s/%s: %w", r.config.Namespace, r.config.Secret, err)
	}
	r.adopt(&pair, b)
	return nil
}
