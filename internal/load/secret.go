// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/model"
)

// secret takes certificates and the probe key; every other Secret is dropped
// unread.
func (b *Builder) secret(s *corev1.Secret) {
	if s.Name == ProbeSecretName && s.Labels[ManagedByLabel] == ManagedBy {
		key := string(secretValue(s, ProbeSecretKey))
		if key != "" && (b.ProbeNamespace == "" || b.ProbeNamespace == s.Namespace) {
			b.probeKey[s.Namespace] = key
		}
		return
	}
	if s.Type != corev1.SecretTypeTLS && secretValue(s, corev1.TLSCertKey) == nil {
		return
	}
	b.in.Certificates = append(b.in.Certificates, Certificate(b.ref("", "Secret", s), s))
}

// Certificate reads what may be known of a TLS Secret. It never fails: what is
// wrong is the certificate's Problem, which quotes nothing of the Secret.
func Certificate(ref model.Reference, s *corev1.Secret) model.Certificate {
	out := model.Certificate{Ref: ref}
	chain, key := secretValue(s, corev1.TLSCertKey), secretValue(s, corev1.TLSPrivateKeyKey)
	if len(chain) == 0 {
		out.Problem = "it has no " + corev1.TLSCertKey
		return out
	}
	leaf, problem := leafOf(chain)
	if problem != "" {
		out.Problem = problem
		return out
	}
	fingerprint := sha256.Sum256(leaf.Raw)
	out.Fingerprint = hex.EncodeToString(fingerprint[:])
	out.NotBefore, out.NotAfter = leaf.NotBefore, leaf.NotAfter
	for _, name := range leaf.DNSNames {
		out.Names = append(out.Names, strings.ToLower(name))
	}
	slices.Sort(out.Names)
	out.Names = slices.Compact(out.Names)
	out.Problem = keyProblem(chain, key)
	return out
}

// leafOf reads the first certificate, which is the one that a server shows.
func leafOf(chain []byte) (*x509.Certificate, string) {
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, corev1.TLSCertKey + " holds no certificate in PEM form"
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, corev1.TLSCertKey + " holds a certificate that cannot be read: " + strings.TrimPrefix(err.Error(), "x509: ")
		}
		return leaf, ""
	}
}

func keyProblem(chain, key []byte) string {
	if len(key) == 0 {
		return "it has no " + corev1.TLSPrivateKeyKey
	}
	_, err := tls.X509KeyPair(chain, key)
	if err == nil {
		return ""
	}
	// Errors of crypto/tls name what failed and never quote key material.
	reason := strings.TrimPrefix(err.Error(), "tls: ")
	if strings.Contains(reason, "does not match") {
		return corev1.TLSCertKey + " and " + corev1.TLSPrivateKeyKey + " do not belong together: the key is another certificate's"
	}
	return corev1.TLSPrivateKeyKey + " cannot be used: " + reason
}

// secretValue reads one key. stringData wins, as it does in the API server;
// only files have it.
func secretValue(s *corev1.Secret, key string) []byte {
	if v, ok := s.StringData[key]; ok {
		return []byte(v)
	}
	return s.Data[key]
}

// meshConfigName is the ConfigMap of istiod without a revision.
const meshConfigName = "istio"

// configMap takes Istio's mesh configuration. One that cannot be read says
// nothing: istiod refuses it and keeps the one before.
func (b *Builder) configMap(c *corev1.ConfigMap) {
	if c.Name != meshConfigName || c.Namespace != b.root {
		return
	}
	var config struct {
		TrustDomain    string `json:"trustDomain"`
		RootNamespace  string `json:"rootNamespace"`
		EnableAutoMTLS *bool  `json:"enableAutoMtls"`
		// istiod looks for "." in it, and for nothing else (setDestinationRules in
		// pilot/pkg/model/push_context.go).
		RulesExportTo []string `json:"defaultDestinationRuleExportTo"`
	}
	if err := yaml.Unmarshal([]byte(c.Data["mesh"]), &config); err != nil {
		return
	}
	if config.TrustDomain != "" {
		b.in.Mesh.TrustDomain = config.TrustDomain
	}
	if config.RootNamespace != "" {
		b.in.Mesh.RootNamespace = config.RootNamespace
	}
	b.in.Mesh.PrivateRules = slices.Contains(config.RulesExportTo, ".")
	if config.EnableAutoMTLS != nil {
		b.in.Mesh.AutoMutualTLS = *config.EnableAutoMTLS
	}
}
