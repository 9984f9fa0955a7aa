// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
	"github.com/trellis-mesh/trellis/internal/load"
)

// CertificateAnnotation on a Secret names the ManagedCertificate that it was made
// for.
const CertificateAnnotation = "trellis.dev/certificate"

// keyData is where the Secret of an order holds its key.
const keyData = "tls.key"

// externalKeyData is where the user's Secret has the key of an external account.
const externalKeyData = "secret"

// foreignError is about a Secret that somebody else made.
type foreignError struct{ name string }

func (e foreignError) Error() string {
	return fmt.Sprintf("the Secret %s was not made for this certificate, so it is left as it is; "+
		"remove it, or take another name", e.name)
}

// read gets a Secret, or nil where there is none.
func (r *Reconciler) read(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}
	return s, nil
}

// ours tells Secrets that were made for a certificate from all others. The label
// alone is not enough: other Secrets of ours have it too.
func ours(s *corev1.Secret, cert *v1alpha1.ManagedCertificate) bool {
	if s.Labels[load.ManagedByLabel] != load.ManagedBy {
		return false
	}
	if name, ok := s.Annotations[CertificateAnnotation]; ok {
		// What nobody uses any more is for who needs it.
		return name == cert.Name || leftover.Is(s)
	}
	return s.Type == corev1.SecretTypeTLS
}

// save writes a Secret of ours, where it differs from what is there (nil for
// nothing). All of its data goes in one write.
func (r *Reconciler) save(ctx context.Context, cert *v1alpha1.ManagedCertificate, there, wanted *corev1.Secret) (*corev1.Secret, error) {
	if there == nil {
		wanted.Labels = with(wanted.Labels, load.ManagedByLabel, load.ManagedBy)
		wanted.Annotations = with(wanted.Annotations, CertificateAnnotation, cert.Name)
		if wanted.Type == corev1.SecretTypeTLS {
			claim(wanted, cert)
		}
		if err := r.client.Create(ctx, wanted, fieldOwner); err != nil {
			return nil, writing(wanted, err)
		}
		return wanted, nil
	}
	if !ours(there, cert) {
		return nil, foreignError{wanted.Name}
	}
	changed := there.DeepCopy()
	for k, v := range wanted.Data {
		if !bytes.Equal(changed.Data[k], v) {
			if changed.Data == nil {
				changed.Data = map[string][]byte{}
			}
			changed.Data[k] = v
		}
	}
	changed.Annotations = with(changed.Annotations, CertificateAnnotation, cert.Name)
	for _, key := range []string{DirectoryAnnotation, leftover.NotAfterAnnotation} {
		mark(changed.Annotations, wanted.Annotations, key)
	}
	mark(changed.Labels, wanted.Labels, certificate.PlaceholderLabel)
	delete(changed.Labels, leftover.Label)
	if changed.Type == corev1.SecretTypeTLS {
		claim(changed, cert)
	}
	if sameSecret(there, changed) {
		return there, nil
	}
	if err := r.client.Update(ctx, changed, fieldOwner); err != nil {
		return nil, writing(wanted, err)
	}
	return changed, nil
}

// writing says which Secret could not be written. Somebody who was faster is no
// error: it is looked at again.
func writing(s *corev1.Secret, err error) error {
	if lost(err) {
		return errors.Join(errStale, err)
	}
	return fmt.Errorf("writing Secret %s/%s: %w", s.Namespace, s.Name, err)
}

// mark makes one entry of a map what it is in another.
func mark(m, wanted map[string]string, key string) {
	if v, ok := wanted[key]; ok {
		m[key] = v
	} else {
		delete(m, key)
	}
}

func sameSecret(a, b *corev1.Secret) bool {
	return maps.Equal(a.Annotations, b.Annotations) && maps.Equal(a.Labels, b.Labels) && maps.EqualFunc(a.Data, b.Data, bytes.Equal)
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// drop deletes a Secret of ours, the one that was read and no other.
func (r *Reconciler) drop(ctx context.Context, cert *v1alpha1.ManagedCertificate, name string) error {
	s, err := r.read(ctx, cert.Namespace, name)
	if s == nil || err != nil || !ours(s, cert) {
		return err
	}
	err = r.client.Delete(ctx, s, client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Secret %s/%s: %w", cert.Namespace, name, err)
	}
	return nil
}

// serve makes sure that there is something to serve, the best that there is: the
// certificate, or else its copy, or else what there is as long as it is a pair,
// or else a placeholder.
func (w *work) serve(ctx context.Context) error {
	if err := w.readServed(ctx); err != nil {
		return err
	}
	if err := w.restore(ctx); err != nil {
		return err
	}
	info, problem := certificate.Check(w.pair, w.names, w.now)
	if problem == nil && !info.Placeholder && !borrowed(w.secret) {
		return w.keepOurs(ctx, info)
	}
	broken := w.pair.Empty() || brokenPair(problem)
	last, err := w.last(ctx, broken || info.Placeholder)
	if err != nil {
		return err
	}
	if !last.Empty() {
		return w.put(ctx, last, false)
	}
	// What has expired, or is for other names, is still better than nothing.
	if keep := !broken && (problem == nil || !info.Placeholder); keep || len(w.names) == 0 {
		return nil
	}
	placeholder, err := certificate.NewPlaceholder(w.names, w.now)
	if err != nil {
		return err
	}
	return w.put(ctx, known{Pair: placeholder}, true)
}

// readServed reads what is served now, unless it is somebody else's.
func (w *work) readServed(ctx context.Context) error {
	there, err := w.read(ctx, w.cert.Namespace, w.cert.Spec.SecretName)
	if err != nil || there == nil {
		return err
	}
	if !ours(there, w.cert) || there.Type != corev1.SecretTypeTLS {
		return foreignError{w.cert.Spec.SecretName}
	}
	w.secret, w.pair = there, certificate.FromData(there.Data)
	switch {
	case borrowed(there):
		w.secret, err = w.keep(ctx, there)
	case leftover.Is(there):
		w.secret, err = w.save(ctx, w.cert, there, there)
	}
	return err
}

// brokenPair reports whether a pair is none that could be served at all.
func brokenPair(problem error) bool {
	return errors.Is(problem, certificate.ErrUnreadable) || errors.Is(problem, certificate.ErrMismatch) || errors.Is(problem, certificate.ErrChain)
}

// put writes a pair that has been checked into the Secret.
func (w *work) put(ctx context.Context, pair known, placeholder bool) error {
	if _, err := certificate.Check(pair.Pair, nil, w.now); err != nil {
		return fmt.Errorf("refusing to serve a pair that is none: %w", err)
	}
	wanted := pair.secret(w.cert.Namespace, w.cert.Spec.SecretName)
	if placeholder {
		wanted.Labels = with(wanted.Labels, certificate.PlaceholderLabel, "true")
	}
	saved, err := w.save(ctx, w.cert, w.secret, wanted)
	if err != nil {
		return err
	}
	w.secret, w.pair = saved, pair.Pair
	return nil
}

// fingerprint is the SHA-256 of a pair's own certificate; empty where there is none.
func fingerprint(p certificate.Pair) string {
	chain, err := certificate.ParseChain(p.Chain)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(chain[0].Raw)
	return hex.EncodeToString(sum[:])
}

// readKeys fills in what the next step may need.
func (w *work) readKeys(ctx context.Context, r *rotation) error {
	w.secrets.Pair, w.secrets.PairFrom = w.pair, w.from()
	if borrowed(w.secret) {
		w.secrets.Pair = certificate.Pair{}
	}
	if key := w.account(); key != nil && w.settled() && w.state.Account != "" && w.state.Directory == w.spec.Directory {
		// It is only needed when there is something to order, and read again then.
		w.secrets.AccountKey = key
		return nil
	}
	var err error
	if w.secrets.AccountKey, err = w.readAccountKey(ctx, r); err != nil {
		return err
	}
	w.secrets.OrderKey = nil
	if current := w.state.Current(); current.Order != nil && current.Order.Key != "" {
		order, err := w.read(ctx, w.cert.Namespace, orderKeyName(w.cert))
		if err != nil {
			return err
		}
		if order != nil {
			w.secrets.OrderKey = order.Data[keyData]
		}
	}
	return w.readExternalKey(ctx)
}

func (w *work) readExternalKey(ctx context.Context) error {
	bound := w.cert.Spec.ExternalAccount
	if bound == nil {
		return nil
	}
	s, err := w.read(ctx, w.cert.Namespace, bound.KeySecretRef.Name)
	if err != nil {
		return err
	}
	w.secrets.ExternalAccountKey = nil
	if s != nil {
		w.secrets.ExternalAccountKey = s.Data[externalKeyData]
	}
	return nil
}

// storeOrderKey keeps the key of an order beside the certificate.
func (w *work) storeOrderKey(ctx context.Context, key []byte) error {
	name := orderKeyName(w.cert)
	there, err := w.read(ctx, w.cert.Namespace, name)
	if err != nil {
		return err
	}
	w.memory.tidy = false
	_, err = w.save(ctx, w.cert, there, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.cert.Namespace, Name: name},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{keyData: key},
	})
	return err
}
