// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
	"github.com/trellis-mesh/trellis/internal/schema"
)

// delegating is a folder where both engines are others'.
func delegating(t *testing.T) model.Input {
	t.Helper()
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	in, problems := readFolder(t, checker, "testdata/externaldns-is-asked-for-the-entries-and-shown-no-other-source")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return in
}

func kinds(o *compile.Outcome) map[string]int {
	out := map[string]int{}
	for _, object := range o.Objects {
		out[object.Ref.Kind]++
	}
	return out
}

func reasonsOf(o *compile.Outcome) []string {
	var out []string
	for _, f := range o.Findings {
		out = append(out, f.Reason)
	}
	return out
}

func TestAClusterWithoutCertManagerServesNothingThatNeedsIt(t *testing.T) {
	in := delegating(t)
	in.Delegated.Missing = []string{delegation.CertificateCRD}
	o := compile.Compile(model.NewSnapshot(in))
	if !slices.Contains(reasonsOf(o), "CertManagerMissing") {
		t.Errorf("findings %v", reasonsOf(o))
	}
	got := kinds(o)
	for _, kind := range []string{"Certificate", "ManagedCertificate", "Gateway", "VirtualService", "DNSEndpoint"} {
		if got[kind] != 0 {
			t.Errorf("%d %s", got[kind], kind)
		}
	}
	if got["AuthorizationPolicy"] == 0 {
		t.Error("what restricts is gone")
	}
}

func TestAClusterWithoutExternalDNSServesHostsAndSaysThatTheyAreNotFound(t *testing.T) {
	in := delegating(t)
	in.Delegated.Missing = []string{delegation.EndpointCRD}
	o := compile.Compile(model.NewSnapshot(in))
	if !slices.Contains(reasonsOf(o), "ExternalDNSMissing") {
		t.Errorf("findings %v", reasonsOf(o))
	}
	if got := kinds(o); got["DNSEndpoint"] != 0 || got["Gateway"] != 1 || got["VirtualService"] != 2 {
		t.Errorf("objects %v", got)
	}
	for ref, ingress := range o.Ingresses {
		if !ingress.Accepted {
			t.Errorf("%s is not accepted", ref)
		}
	}
}

func TestAnIssuerThatCannotWorkBehindTheGatewayIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		known   bool
		issuers []*delegation.Issuer
		want    string
	}{
		"nobody could look":        {false, nil, ""},
		"it is not there":          {true, nil, "IssuerNotFound"},
		"one of another namespace": {true, []*delegation.Issuer{{Kind: "Issuer", Namespace: "shop", Name: "authority"}}, "IssuerNotFound"},
		"one of another kind":      {true, []*delegation.Issuer{{Kind: "ClusterIssuer", Name: "authority"}}, "IssuerNotFound"},
		"it will do":               {true, []*delegation.Issuer{{Kind: "Issuer", Namespace: "istio-ingress", Name: "authority"}}, ""},
		"HTTP-01 alone":            {true, []*delegation.Issuer{{Kind: "Issuer", Namespace: "istio-ingress", Name: "authority", OnlyHTTP01: true}}, "IssuerNeedsDNS01"},
	} {
		t.Run(name, func(t *testing.T) {
			in := delegating(t)
			in.Delegated.IssuersKnown, in.Delegated.Issuers = test.known, test.issuers
			o := compile.Compile(model.NewSnapshot(in))
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if got := reasonsOf(o); !slices.Equal(got, want) {
				t.Errorf("findings %v, want %v", got, want)
			}
			if got := kinds(o); got["Certificate"] != 2 || got["Gateway"] != 1 {
				t.Errorf("objects %v", got)
			}
		})
	}
}

func TestALoadBalancerThatLosesItsAddressLeavesItsEntriesWithExternalDNS(t *testing.T) {
	in := delegating(t)
	before := compile.Compile(model.NewSnapshot(in))
	for _, o := range before.Objects {
		if e, ok := o.Value.(*delegation.DNSEndpoint); ok {
			if len(e.Spec.Endpoints) != 2 {
				t.Fatalf("%s has %+v", o.Ref, e.Spec.Endpoints)
			}
			in.Delegated.Endpoints = append(in.Delegated.Endpoints, &delegation.DNSEndpoint{
				ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name}, Spec: e.Spec,
			})
		}
	}
	for i := range in.Services {
		in.Services[i].Addresses = nil
	}
	after := compile.Compile(model.NewSnapshot(in))
	for i, o := range after.Objects {
		was, err := before.Objects[i].JSON()
		if err != nil {
			t.Fatal(err)
		}
		is, err := o.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if o.Ref.Kind == "DNSEndpoint" && string(is) != string(was) {
			t.Errorf("%s changes from\n%s\nto\n%s", o.Ref, was, is)
		}
	}
	in.Delegated.Endpoints = nil
	for _, o := range compile.Compile(model.NewSnapshot(in)).Objects {
		if e, ok := o.Value.(*delegation.DNSEndpoint); ok && (e.Spec.Endpoints == nil || len(e.Spec.Endpoints) != 0) {
			t.Errorf("without an address ever, %s has %#v", o.Ref, e.Spec.Endpoints)
		}
	}
}
