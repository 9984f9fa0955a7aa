// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// folder is a mesh: an Application shop/web behind a gateway, callers of it, and a policy
// that is only tried.
const folder = "../compile/testdata/a-shadow-policy-refuses-nothing-and-is-dry-run/"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mesh is the folder compiled, and what others have there besides.
func mesh(t testing.TB, more ...runtime.Object) attribution.Input {
	t.Helper()
	checker, err := schema.New()
	must(t, err)
	defaults := model.DefaultMesh()
	set, err := document.Read([]string{folder + "platform.yaml", folder + "in.yaml"}, nil, document.Options{Cluster: defaults.Cluster, Scope: checker.Scope})
	must(t, err)
	objects, _ := checker.Read(context.Background(), set)
	builder := load.NewBuilder(defaults)
	in := attribution.Input{Objects: more, Proxies: proxies()}
	for _, o := range objects {
		builder.Add(o.Value)
		if a, ok := o.Value.(*v1alpha1.Application); ok {
			in.Applications = append(in.Applications, a)
		}
	}
	input := builder.Input()
	input.At = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, o := range compile.Compile(model.NewSnapshot(input)).Objects {
		in.Objects = append(in.Objects, o.Value)
	}
	if len(in.Applications) != 1 {
		t.Fatalf("%d Applications", len(in.Applications))
	}
	return in
}

func proxies() []xds.Node {
	node := func(kind xds.NodeType, namespace, name, account, address string, labels map[string]string) xds.Node {
		return xds.Node{Type: kind, Namespace: namespace, Name: name, ServiceAccount: account, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Labels: labels}
	}
	return []xds.Node{
		node(xds.Router, "istio-ingress", "gateway-1", "istio-ingressgateway", "10.0.0.9", map[string]string{"istio": "ingressgateway"}),
		node(xds.Sidecar, "shop", "web-1", "web", "10.0.0.1", map[string]string{"app": "web", "pod-template-hash": "a"}),
		node(xds.Sidecar, "shop", "web-2", "web", "10.0.0.2", map[string]string{"app": "web", "pod-template-hash": "b"}),
		node(xds.Sidecar, "jobs", "nightly", "nightly", "10.0.1.1", map[string]string{"app": "nightly"}),
		node(xds.Sidecar, "old", "ledger", "ledger", "10.0.2.1", map[string]string{"app": "ledger"}),
		node(xds.Sidecar, "old", "both", "both", "10.0.2.2", map[string]string{"app": "both"}),
	}
}

// byHand is an AuthorizationPolicy that somebody wrote.
func byHand(namespace, name string, action securityapi.AuthorizationPolicy_Action, app string) *securityv1.AuthorizationPolicy {
	out := &securityv1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
	out.Spec.Action = action
	out.Spec.Rules = []*securityapi.Rule{{}}
	if app != "" {
		out.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
	}
	return out
}

// tokens is a RequestAuthentication that somebody wrote.
func tokens(namespace, name string) *securityv1.RequestAuthentication {
	out := &securityv1.RequestAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "RequestAuthentication"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
	out.Spec.JwtRules = []*securityapi.JWTRule{{Issuer: "https://issuer"}}
	return out
}

func peers(namespace string) *securityv1.PeerAuthentication {
	out := &securityv1.PeerAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "PeerAuthentication"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"},
	}
	out.Spec.Mtls = &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT}
	return out
}

// others are what somebody else wrote in the mesh.
func others() []runtime.Object {
	return []runtime.Object{
		byHand("old", "ledger", securityapi.AuthorizationPolicy_ALLOW, "ledger"), byHand("old", "no-night", securityapi.AuthorizationPolicy_DENY, "ledger"),
		byHand("old", "one", securityapi.AuthorizationPolicy_ALLOW, "both"), byHand("old", "two", securityapi.AuthorizationPolicy_ALLOW, "both"),
		byHand("old", "asking", securityapi.AuthorizationPolicy_CUSTOM, "ledger"), tokens("old", "people"), peers("istio-system"),
	}
}
