// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedrecord_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/controller/managedrecord"
	"github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/test/fake/azuredns"
	"github.com/trellis-mesh/trellis/test/fake/clouddns"
	"github.com/trellis-mesh/trellis/test/fake/cloudflare"
)

// redirected sends requests for whatever host to a stand-in.
type redirected struct{ to *url.URL }

func (r redirected) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.URL.Scheme, q.URL.Host = r.to.Scheme, r.to.Host
	return http.DefaultTransport.RoundTrip(q)
}

// standIn serves in place of a vendor's hosts.
func (w *world) standIn(h http.Handler) string {
	w.Helper()
	s := httptest.NewServer(h)
	w.Cleanup(s.Close)
	to, err := url.Parse(s.URL)
	if err != nil {
		w.Fatal(err)
	}
	w.vendors = managedrecord.Vendors{Transport: redirected{to}}
	w.restart()
	return s.URL
}

func TestSpecsOfEachVendorReachTheirAccount(t *testing.T) {
	ref := &v1alpha1.SecretReference{Name: "credentials"}
	for name, start := range map[string]func(w *world) (v1alpha1.DNSProviderSpec, map[string]string){
		"cloudflare": func(w *world) (v1alpha1.DNSProviderSpec, map[string]string) {
			s := cloudflare.New()
			s.Token("good-token-good-token-good-token-good-token", cloudflare.Edit)
			s.AddZone(zone, "active", "full")
			w.standIn(s)
			return v1alpha1.DNSProviderSpec{Cloudflare: &v1alpha1.CloudflareProvider{TokenSecretRef: *ref}}, map[string]string{"token": "good-token-good-token-good-token-good-token\n"}
		},
		"google": func(w *world) (v1alpha1.DNSProviderSpec, map[string]string) {
			s := clouddns.New()
			s.AddZone("zone", zone+".", clouddns.ZoneOptions{})
			base := w.standIn(s)
			return v1alpha1.DNSProviderSpec{Google: &v1alpha1.GoogleProvider{CredentialsSecretRef: ref}},
				map[string]string{"key.json": string(s.AccountKey(base, "dns", false))}
		},
		"azure": func(w *world) (v1alpha1.DNSProviderSpec, map[string]string) {
			const subscription, tenant = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
			s := azuredns.New(subscription)
			s.AddClient("ours", azuredns.Client{Secret: "password"})
			s.AddZone("group", zone)
			w.standIn(s)
			return v1alpha1.DNSProviderSpec{Azure: &v1alpha1.AzureProvider{
				SubscriptionID: subscription, ResourceGroup: "group", TenantID: tenant, ClientID: "ours", CredentialsSecretRef: ref,
			}}, map[string]string{"clientSecret": "password\n"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec, secret := start(w)
			w.create(&v1alpha1.DNSProvider{ObjectMeta: w.meta("dns"), Spec: spec})
			w.secret("credentials", secret)
			w.want("shop", "shop."+zone, addresses("192.0.2.1"))
			w.reconcile()
			if p := w.providerIs("Ready", "1 zone"); len(p.Status.Zones) != 1 || p.Status.Zones[0].Name != zone {
				t.Errorf("it has the zones %+v", p.Status.Zones)
			}
			w.is("shop", dns.PhaseDone, "Done", "192.0.2.1")
			shop := w.record("shop")
			w.remove(shop)
			w.reconcile()
			if w.there(shop) {
				t.Errorf("it is still there: %+v", shop.Status)
			}
		})
	}
}
