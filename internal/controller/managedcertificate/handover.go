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
	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/leftover"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// use is what becomes of the Secret of a certificate that goes.
type use int

const (
	// unused: nobody needs the Secret.
	unused use = iota
	// handedOver: what it was made for leaves its certificates to cert-manager now, or
	// names the Secret as its own. The pair stays in service until the other engine
	// puts another in its place.
	handedOver
	// wanted: what it was made for is there, and has its certificates from us. Who
	// deleted this one did so by mistake, or it comes back.
	wanted
)

func (r *Reconciler) useOf(ctx context.Context, cert *v1alpha1.ManagedCertificate) (use, error) {
	labels := cert.Labels
	if labels[compile.LabelOwnerKind] != "SecureIngress" {
		return unused, nil
	}
	key := client.ObjectKey{Namespace: labels[compile.LabelOwnerNamespace], Name: labels[compile.LabelOwnerName]}
	ingress := &v1alpha1.SecureIngress{}
	err := r.reader.Get(ctx, key, ingress)
	if apierrors.IsNotFound(err) {
		return unused, nil
	}
	if err != nil {
		return unused, fmt.Errorf("reading SecureIngress %s: %w", key, err)
	}
	tls := ingress.Spec.TLS
	switch {
	case !ingress.DeletionTimestamp.IsZero():
		return unused, nil
	case tls.CertManager != nil, tls.SecretName == cert.Spec.SecretName:
		return handedOver, nil
	case tls.SecretName != "" || !within(cert.Spec.DNSNames, ingress.Spec.Domains):
		return unused, nil
	}
	return wanted, nil
}

// within reports whether all names are of domains.
func within(names []string, domains []v1alpha1.IngressDomain) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(domains, func(d v1alpha1.IngressDomain) bool {
			return name == d.Domain || strings.HasSuffix(name, "."+d.Domain)
		})
	})
}

// abandon marks what stays without its certificate: it is taken up again, or swept.
func (r *Reconciler) abandon(ctx context.Context, cert *v1alpha1.ManagedCertificate, name string) error {
	s, err := r.read(ctx, cert.Namespace, name)
	if s == nil || err != nil || !ours(s, cert) || leftover.Is(s) {
		return err
	}
	leftover.Mark(s, r.clock.Now())
	if err := r.client.Update(ctx, s, fieldOwner); client.IgnoreNotFound(err) != nil {
		return writing(s, err)
	}
	return nil
}

// inUse reports whether there is a certificate that a Secret was made for.
func (r *Reconciler) inUse(ctx context.Context, s metav1.Object) (bool, error) {
	key := client.ObjectKey{Namespace: s.GetNamespace(), Name: s.GetAnnotations()[CertificateAnnotation]}
	err := r.reader.Get(ctx, key, &v1alpha1.ManagedCertificate{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading ManagedCertificate %s: %w", key, err)
	}
	return true, nil
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
