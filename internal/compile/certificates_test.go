// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"slices"
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

func TestATokenThatACertificateAuthorityAwaitsIsAnsweredOnItsExactPathAlone(t *testing.T) {
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	in, problems := readFolder(t, checker, "testdata/a-certificate-proven-at-the-gateway-is-for-one-host")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const token = "/.well-known/acme-challenge/tokentokentokentoken"
	in.ProbeKey = "key"
	in.ManagedCertificates = []*v1alpha1.ManagedCertificate{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-ingress", Name: "trellis-certificate-public.shop.example.com"},
		Status: v1alpha1.ManagedCertificateStatus{Fingerprint: "00ff", Challenges: []v1alpha1.HTTPChallenge{
			{Host: "shop.example.com", Path: token, Body: "tokentokentokentoken.thumbprint"},
			{Host: "shop.example.com", Path: "/anything/else", Body: "never"},
			{Host: "shop.eu.example.com", Path: token + "2", Body: "never"},
		}},
	}}
	outcome := compile.Compile(model.NewSnapshot(in))
	checkObjects(t, outcome)
	var answers []*networkingapi.HTTPRoute
	for _, o := range outcome.Objects {
		service, ok := o.Value.(*networkingv1.VirtualService)
		if !ok {
			continue
		}
		for i, r := range service.Spec.Http {
			if r.Name != "acme-challenge-token" {
				continue
			}
			answers = append(answers, r)
			plain := slices.IndexFunc(service.Spec.Http, func(r *networkingapi.HTTPRoute) bool { return r.Name == "acme-challenge-plain" })
			if !strings.HasSuffix(service.Name, "shop.example.com") || i > plain {
				t.Errorf("%s answers in place %d, and the reserved path is refused in place %d", service.Name, i, plain)
			}
		}
	}
	if len(answers) != 1 {
		t.Fatalf("%d answers: %v", len(answers), answers)
	}
	match := answers[0].Match[0]
	if len(answers[0].Match) != 1 || match.Uri.GetExact() != token || match.Port != 80 || answers[0].DirectResponse.GetBody().GetString_() != "tokentokentokentoken.thumbprint" {
		t.Errorf("the answer is %v", answers[0])
	}
	for _, p := range outcome.Applications[applicationReference("shop", "web")].Probes {
		if want := map[string]string{"shop.example.com": "00ff"}[p.Host]; p.Fingerprint != want {
			t.Errorf("the probe of %s expects the certificate %q, want %q", p.Host, p.Fingerprint, want)
		}
	}
}

func applicationReference(namespace, name string) model.Reference {
	return model.NewSnapshot(model.Input{Mesh: model.DefaultMesh()}).ApplicationReference(namespace, name)
}

func TestEntriesThatNobodyWritesAreToldToPeople(t *testing.T) {
	for _, test := range []struct {
		name      string
		addresses []string
		dns       *v1alpha1.IngressDNS
		want      []v1alpha1.DNSEntry
	}{
		{"no address yet", nil, nil, nil},
		{"addresses", []string{"2001:db8::7", "192.0.2.7"}, nil, []v1alpha1.DNSEntry{
			{Name: "shop.eu.example.com", Type: "A", Value: "192.0.2.7"}, {Name: "shop.eu.example.com", Type: "AAAA", Value: "2001:db8::7"},
			{Name: "shop.example.com", Type: "A", Value: "192.0.2.7"}, {Name: "shop.example.com", Type: "AAAA", Value: "2001:db8::7"},
		}},
		{"a name", []string{"LB.example.net."}, nil, []v1alpha1.DNSEntry{
			{Name: "shop.eu.example.com", Type: "CNAME", Value: "lb.example.net"}, {Name: "shop.example.com", Type: "CNAME", Value: "lb.example.net"},
		}},
		{"Trellis writes", []string{"192.0.2.7"}, &v1alpha1.IngressDNS{ProviderRef: v1alpha1.DNSProviderReference{Name: "zone"}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			checker, err := schema.New()
			if err != nil {
				t.Fatal(err)
			}
			in, _ := readFolder(t, checker, "testdata/a-certificate-proven-at-the-gateway-is-for-one-host")
			for i := range in.Services {
				in.Services[i].Addresses = test.addresses
			}
			in.SecureIngresses[0].Spec.DNS = test.dns
			for _, o := range compile.Compile(model.NewSnapshot(in)).Ingresses {
				if !slices.Equal(o.Entries, test.want) {
					t.Errorf("the entries are %v, want %v", o.Entries, test.want)
				}
			}
		})
	}
}

// A host that gets another kind of certificate keeps the one that it has until the
// other one is issued.
func TestAHostIsServedWithItsOldCertificateUntilTheNewOneIsIssued(t *testing.T) {
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	const own, wildcard = "trellis-certificate-public.shop.example.com", "trellis-certificate-public.example.com"
	of := func(name string, issued bool, names ...string) *v1alpha1.ManagedCertificate {
		c := &v1alpha1.ManagedCertificate{
			ObjectMeta: metav1.ObjectMeta{Namespace: "istio-ingress", Name: name},
			Spec:       v1alpha1.ManagedCertificateSpec{DNSNames: names, SecretName: name, Challenge: "HTTP01"},
			Status:     v1alpha1.ManagedCertificateStatus{Fingerprint: name},
		}
		if issued {
			c.Status.NotAfter = &metav1.Time{}
		}
		return c
	}
	for name, test := range map[string]struct {
		live []*v1alpha1.ManagedCertificate
		// served is the Secret for shop.example.com, wanted the certificates for it.
		served string
		wanted []string
	}{
		"nothing was issued yet":              {nil, wildcard, []string{wildcard}},
		"its own is issued, the wildcard not": {[]*v1alpha1.ManagedCertificate{of(own, true, "shop.example.com")}, own, []string{wildcard, own}},
		"its own is a placeholder":            {[]*v1alpha1.ManagedCertificate{of(own, false, "shop.example.com")}, wildcard, []string{wildcard}},
		"its own is for another name":         {[]*v1alpha1.ManagedCertificate{of(own, true, "cart.example.com")}, wildcard, []string{wildcard}},
		"both are issued": {
			[]*v1alpha1.ManagedCertificate{of(own, true, "shop.example.com"), of(wildcard, true, "*.example.com", "example.com")}, wildcard, []string{wildcard},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, problems := readFolder(t, checker, "testdata/a-certificate-proven-at-the-gateway-is-for-one-host")
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			in.SecureIngresses[0].Spec.TLS.BuiltIn = nil
			in.SecureIngresses[0].Spec.TLS.Email = "ops@example.com"
			in.SecureIngresses[0].Spec.DNS = &v1alpha1.IngressDNS{ProviderRef: v1alpha1.DNSProviderReference{Name: "zone"}}
			in.ManagedCertificates = test.live
			outcome := compile.Compile(model.NewSnapshot(in))
			checkObjects(t, outcome)
			served := ""
			var wanted []string
			for _, o := range outcome.Objects {
				switch v := o.Value.(type) {
				case *networkingv1.Gateway:
					for _, s := range v.Spec.Servers {
						if slices.Contains(s.Hosts, "./shop.example.com") && s.Tls != nil {
							served = s.Tls.CredentialName
						}
					}
				case *v1alpha1.ManagedCertificate:
					if v.Name == own || v.Name == wildcard {
						wanted = append(wanted, v.Name)
					}
				}
			}
			if served != test.served || !slices.Equal(wanted, test.wanted) {
				t.Errorf("served is %s and wanted are %v, want %s and %v", served, wanted, test.served, test.wanted)
			}
		})
	}
}
