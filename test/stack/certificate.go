// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/test/stack/pki"
)

// Certificate makes a new authority and a server certificate for the names,
// writes it as a kubernetes.io/tls Secret and returns a pool with the authority.
// A Secret that exists gets the new certificate.
func (s *Stack) Certificate(ctx context.Context, namespace, secret string, names ...string) (*x509.CertPool, error) {
	if len(names) == 0 {
		return nil, errors.New("making a certificate: no name given")
	}
	authority, err := pki.NewAuthority("trellis test authority of " + names[0])
	if err != nil {
		return nil, err
	}
	cert, key, err := authority.Issue(names...)
	if err != nil {
		return nil, err
	}
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secret},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey: append(cert, authority.PEM...), corev1.TLSPrivateKeyKey: key,
		},
	}
	err = s.client.Create(ctx, object)
	if apierrors.IsAlreadyExists(err) {
		err = s.client.Update(ctx, object)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the certificate %s/%s: %w", namespace, secret, err)
	}
	return authority.Pool(), nil
}
