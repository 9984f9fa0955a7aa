// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/acme"
	"github.com/trellis-mesh/trellis/internal/certificate"
)

// LetsEncrypt is the directory where none is said, and LetsEncryptStaging that for
// tests.
const (
	LetsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	LetsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

var challengeTypes = map[string]acme.ChallengeType{
	"HTTP01": acme.HTTP01, "DNS01": acme.DNS01, "DNSPersist01": acme.DNSPersist01,
}

// specOf is what the engine is asked for.
func specOf(cert *v1alpha1.ManagedCertificate) acme.Spec {
	s := acme.Spec{
		Directory: cert.Spec.Directory, Email: cert.Spec.Email, Names: cert.Spec.DNSNames,
		Key: certificate.KeyType(cert.Spec.Key), Profile: cert.Spec.Profile,
		Challenge: challengeTypes[cert.Spec.Challenge],
		Renew:     cert.Annotations[v1alpha1.RenewAnnotation], Retry: cert.Annotations[v1alpha1.RetryAnnotation],
	}
	if s.Directory == "" {
		s.Directory = LetsEncrypt
	}
	if cert.Spec.Preflight {
		// Where neither says which, the API server has refused it.
		s.Preflight = cmp.Or(cert.Spec.PreflightDirectory, LetsEncryptStaging)
	}
	if cert.Spec.ExternalAccount != nil {
		s.ExternalAccount = cert.Spec.ExternalAccount.KeyID
	}
	return s
}

// maxName is what the API server takes as the name of an object.
const maxName = 253

// beside makes the name of an object that goes with another, of the same length
// at most.
func beside(name, suffix string) string {
	if len(name)+1+len(suffix) <= maxName {
		return name + "-" + suffix
	}
	return name[:maxName-2-len(suffix)-hashLength] + "-" + short(name, hashLength) + "-" + suffix
}

// hashLength is that of hashes in names, in hexadecimal digits.
const hashLength = 10

func short(text string, length int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:length]
}

func orderKeyName(cert *v1alpha1.ManagedCertificate) string {
	return beside(cert.Spec.SecretName, "order")
}

func recordName(cert *v1alpha1.ManagedCertificate, name string) string {
	return beside(cert.Name, "challenge-"+short(name, hashLength))
}
