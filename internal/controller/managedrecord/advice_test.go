// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/dns"
)

func TestAMistakeIsSaidWithItsFieldAndItsRemedy(t *testing.T) {
	w, s := withRoute53(t)
	w.want("shop", "shop."+zone, addresses("192.0.2.1"))
	w.reconcile()
	missing := []string{w.namespace + "/aws", "spec.route53.credentialsSecretRef of the DNSProvider " + w.namespace + "/dns", "make it with accessKeyID and secretAccessKey"}
	w.providerIs("SecretNotFound", missing...)
	w.is("shop", dns.PhaseBlocked, "SecretNotFound", missing...)
	w.secret("aws", map[string]string{"accessKeyID": "AKIAOURS", "secretAccessKey": "good-secret"})
	w.provider(func(s *v1alpha1.DNSProviderSpec) { s.Zones = []string{"ZMISTYPED"} })
	w.reconcile()
	w.providerIs("ZoneNotFound", "none of the zones in spec.zones", "correct the ids")
	w.is("shop", dns.PhaseBlocked, "ZoneNotFound")
	if s.Calls("ChangeResourceRecordSets") != 0 {
		t.Error("something was written")
	}
}

func TestAMissingSecretIsNamedByTheFieldOfItsVendor(t *testing.T) {
	none := &v1alpha1.SecretReference{Name: "none"}
	for want, spec := range map[string]v1alpha1.DNSProviderSpec{
		"spec.rfc2136.tsigSecretRef":       {RFC2136: &v1alpha1.RFC2136Provider{Server: "127.0.0.1:1", Zones: []string{zone}, TSIGSecretRef: none}},
		"spec.azure.credentialsSecretRef":  {Azure: &v1alpha1.AzureProvider{SubscriptionID: "s", CredentialsSecretRef: none}},
		"spec.google.credentialsSecretRef": {Google: &v1alpha1.GoogleProvider{CredentialsSecretRef: none}},
		"spec.cloudflare.tokenSecretRef":   {Cloudflare: &v1alpha1.CloudflareProvider{TokenSecretRef: *none}},
	} {
		t.Run(want, func(t *testing.T) {
			w := newWorld(t)
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: spec})
			w.want("shop", "shop."+zone, addresses("192.0.2.1"))
			w.reconcile()
			w.providerIs("SecretNotFound", want, "make it with ")
		})
	}
}
