// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

func delegatedObject(kind schema.GroupVersionKind, generation int64, body map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: body}
	u.SetGroupVersionKind(kind)
	u.SetNamespace("n")
	u.SetName("a")
	u.SetGeneration(generation)
	u.SetLabels(map[string]string{
		"app.kubernetes.io/managed-by": "trellis", "trellis.dev/owner-kind": "SecureIngress", "trellis.dev/owner-name": "i",
	})
	return u
}

func TestWhatAnotherControllerSaysIsNewsAndItsOtherObjectsAreNotRead(t *testing.T) {
	strip := stripDelegated("c")
	read := func(u *unstructured.Unstructured) *entry {
		e, err := strip(u)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	endpoint := func(generation, observed int64) *entry {
		return read(delegatedObject(delegation.EndpointKind, generation, map[string]any{
			"spec":   map[string]any{"endpoints": []any{map[string]any{"dnsName": "a.example.com", "targets": []any{"192.0.2.1"}}}},
			"status": map[string]any{"observedGeneration": observed},
		}))
	}
	was := endpoint(2, 1)
	kept, ok := was.object.(*delegation.DNSEndpoint)
	if !ok || kept.Generation != 2 || kept.Status.ObservedGeneration != 1 || len(kept.Spec.Endpoints) != 1 || kept.Spec.Endpoints[0].Targets[0] != "192.0.2.1" {
		t.Errorf("kept is %+v", was.object)
	}
	if is := endpoint(2, 2); !was.differs(is) || !reports(was, is) {
		t.Error("that ExternalDNS has read it is no news")
	}
	if was.differs(endpoint(2, 1)) {
		t.Error("the same again is news")
	}
	certificate := func(ready string) *entry {
		return read(delegatedObject(delegation.CertificateKind, 1, map[string]any{
			"spec":   map[string]any{"secretName": "s"},
			"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": ready}}, "notAfter": "2027-01-01T00:00:00Z"},
		}))
	}
	if was, is := certificate("False"), certificate("True"); !was.differs(is) || !reports(was, is) {
		t.Error("that a certificate was issued is no news")
	}
	foreign := delegatedObject(delegation.CertificateKind, 1, map[string]any{"spec": map[string]any{"secretName": "s"}})
	foreign.SetLabels(nil)
	if e := read(foreign); e.object != nil || e.live == nil || e.live.Ours {
		t.Errorf("of somebody else's is kept %+v, %+v", e.object, e.live)
	}
	if e := read(delegatedObject(delegation.CertificateKind, 1, map[string]any{"status": map[string]any{"conditions": "none"}})); e.object != nil || e.live == nil {
		t.Errorf("one that cannot be read is kept as %+v", e.object)
	}
}

func TestAnIssuerIsKnownByItsSolvers(t *testing.T) {
	solver := func(kind string) any { return map[string]any{kind: map[string]any{}} }
	for name, test := range map[string]struct {
		spec map[string]any
		only bool
	}{
		"a key of the cluster": {map[string]any{"ca": map[string]any{"secretName": "s"}}, false},
		"HTTP-01":              {map[string]any{"acme": map[string]any{"solvers": []any{solver("http01")}}}, true},
		"both":                 {map[string]any{"acme": map[string]any{"solvers": []any{solver("http01"), solver("dns01")}}}, false},
		"no solver":            {map[string]any{"acme": map[string]any{}}, false},
		"nonsense":             {map[string]any{"acme": map[string]any{"solvers": []any{"x"}}}, false},
	} {
		u := delegatedObject(delegation.CertificateKind.GroupVersion().WithKind("Issuer"), 1, map[string]any{"spec": test.spec})
		e, err := stripIssuer(u)
		if err != nil || e.issuer == nil || e.issuer.Kind != "Issuer" || e.issuer.Namespace != "n" || e.issuer.OnlyHTTP01 != test.only {
			t.Errorf("%s: %+v, %v", name, e.issuer, err)
		}
		if other, _ := stripIssuer(delegatedObject(u.GroupVersionKind(), 1, map[string]any{})); e.differs(other) != test.only {
			t.Errorf("%s: what its solvers are is news: %t", name, e.differs(other))
		}
	}
}

// TestAKindThatCannotBeReadHoldsUpNothingElse: a definition without our version
// answers 404 for ever.
func TestAKindThatCannotBeReadHoldsUpNothingElse(t *testing.T) {
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "certificates"}, "")
	for _, optional := range []bool{true, false} {
		w := &watch{source: source{optional: optional}}
		told := false
		w.note(missing, func() { told = true })
		if (w.refusal() != nil) != optional || told != optional {
			t.Errorf("optional %t: refused %v, told %t", optional, w.refusal(), told)
		}
		w.note(nil, func() {})
		if w.refusal() != nil {
			t.Errorf("optional %t: it is still refused", optional)
		}
	}
}
