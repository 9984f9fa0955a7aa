// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificate

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlaceholderLabel is on Secrets that hold a placeholder, with the value "true".
const PlaceholderLabel = "trellis.dev/placeholder"

// keyPairs are the spellings that istiod accepts, its own first (pilot/pkg/xds and
// pilot/pkg/credentials of Istio).
var keyPairs = [][2]string{{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}, {"cert", "key"}}

// Secret puts a pair into a Secret of type kubernetes.io/tls. Both parts go in one
// object, so that no reader ever sees one without the other.
func Secret(namespace, name string, p Pair, placeholder bool) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: p.Chain, corev1.TLSPrivateKeyKey: p.Key},
	}
	s.APIVersion, s.Kind = "v1", "Secret"
	if placeholder {
		s.Labels = map[string]string{PlaceholderLabel: "true"}
	}
	return s
}

// FromData takes a pair out of a Secret's data, by any of the spellings that istiod
// accepts. It is Empty where there is none; Check says whether it is any good.
func FromData(data map[string][]byte) Pair {
	for _, k := range keyPairs {
		if len(data[k[0]]) > 0 || len(data[k[1]]) > 0 {
			return Pair{Chain: data[k[0]], Key: data[k[1]]}
		}
	}
	return Pair{}
}
