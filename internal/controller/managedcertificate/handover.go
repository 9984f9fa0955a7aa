// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/certificate"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// handedOver reports whether the Secret of a certificate that goes is still in
// use: what it was made for leaves its certificates to cert-manager now, or names
// the Secret as its own. The pair stays in service until the other engine puts
// another in its place.
func (r *Reconciler) handedOver(ctx context.Context, cert *v1alpha1.ManagedCertificate) (bool, error) {
	labels := cert.Labels
	if labels[compile.LabelOwnerKind] != "SecureIngress" {
		return false, nil
	}
	key := client.ObjectKey{Namespace: labels[compile.LabelOwnerNamespace], Name: labels[compile.LabelOwnerName]}
	ingress := &v1alpha1.SecureIngress{}
	err := r.reader.Get(ctx, key, ingress)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading SecureIngress %s: %w", key, err)
	}
	tls := ingress.Spec.TLS
	if !ingress.DeletionTimestamp.IsZero() || tls.CertManager == nil && tls.SecretName != cert.Spec.SecretName {
		return false, nil
	}
	return true, r.leave(ctx, cert)
}

// leave takes the mark of a placeholder away from a Secret that somebody else
// fills from now on, and who would not; and says whose the pair is.
func (r *Reconciler) leave(ctx context.Context, cert *v1alpha1.ManagedCertificate) error {
	s, err := r.read(ctx, cert.Namespace, cert.Spec.SecretName)
	if s == nil || err != nil || !ours(s, cert) || borrowed(s) {
		return err
	}
	delete(s.Labels, certificate.PlaceholderLabel)
	claim(s, cert)
	if err := r.client.Update(ctx, s, fieldOwner); client.IgnoreNotFound(err) != nil {
		return writing(s, err)
	}
	return nil
}

// borrowed reports whether cert-manager filled a Secret. Its pair is served until
// there is one of ours, and says nothing of whether one is needed: it may be of
// another authority, or self-signed for the time being.
func borrowed(s *corev1.Secret) bool {
	return s != nil && s.Annotations[delegation.CertificateNameAnnotation] != ""
}

// keep lets a Secret outlive the Certificate that it was filled for, where
// cert-manager was told to have both deleted together.
func (w *work) keep(ctx context.Context, s *corev1.Secret) (*corev1.Secret, error) {
	owners := slices.DeleteFunc(slices.Clone(s.OwnerReferences), ofCertManager)
	if len(owners) == len(s.OwnerReferences) {
		return s, nil
	}
	changed := s.DeepCopy()
	changed.OwnerReferences = owners
	if err := w.client.Update(ctx, changed, fieldOwner); err != nil {
		return nil, writing(s, err)
	}
	return changed, nil
}

func ofCertManager(o metav1.OwnerReference) bool {
	return o.Kind == delegation.CertificateKind.Kind && strings.HasPrefix(o.APIVersion, delegation.CertManagerGroup+"/")
}

// claim says on a Secret that its pair is ours, in cert-manager's words: without
// them it would take any pair that it finds for its own, a placeholder too, and
// leave it there until it is due. What it wrote about a pair of its own goes.
func claim(s *corev1.Secret, cert *v1alpha1.ManagedCertificate) {
	for _, m := range []map[string]string{s.Annotations, s.Labels} {
		for key := range m {
			domain, _, _ := strings.Cut(key, "/")
			if domain == delegation.CertManagerGroup || strings.HasSuffix(domain, "."+delegation.CertManagerGroup) {
				delete(m, key)
			}
		}
	}
	for key, value := range map[string]string{
		delegation.IssuerNameAnnotation: cert.Name, delegation.IssuerKindAnnotation: "ManagedCertificate",
		delegation.IssuerGroupAnnotation: v1alpha1.GroupName,
	} {
		s.Annotations = with(s.Annotations, key, value)
	}
}
