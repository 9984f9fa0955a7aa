// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"net/netip"
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// made is the metadata of an object that Trellis made for an Application of its namespace.
func made(namespace, name, application, origin string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Annotations: map[string]string{"trellis.dev/origin": origin},
		Labels: map[string]string{"app.kubernetes.io/managed-by": "trellis", "trellis.dev/owner-kind": "Application", "trellis.dev/owner-namespace": namespace, "trellis.dev/owner-name": application},
	}
}

func TestACallThatIsNotLetOutIsJoinedToTheListOfCalls(t *testing.T) {
	sidecar := &networkingv1.Sidecar{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "Sidecar"},
		ObjectMeta: made("jobs", "trellis-application-nightly", "nightly", `{"objects":["Application jobs/nightly"],"fields":["spec.calls"],"rules":[[0,0,-1,"Application","Call"]]}`),
	}
	sidecar.Spec.WorkloadSelector = &networkingapi.WorkloadSelector{Labels: map[string]string{"app": "nightly"}}
	x := attribution.New(mesh(t, sidecar))
	e := change(t, notLetOut)
	e.Writer = accesslog.Writer{Namespace: "jobs", Pod: "nightly"}
	const want = "Attributed||Denied|Workload|jobs/nightly/|Sidecar jobs/trellis-application-nightly|0|Application jobs/nightly|spec.calls|Call|jobs/nightly"
	if got := said(x.Of(e)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestAWorkloadOfTwoApplicationsIsNobodysInParticular(t *testing.T) {
	other := byHand("shop", "trellis-application-admin-allow", securityapi.AuthorizationPolicy_ALLOW, "web")
	other.ObjectMeta = made("shop", other.Name, "admin", `{"objects":["Application shop/admin"],"fields":["spec.access.callers[0]"],"rules":[[0,0,-1,"Application","Caller"]]}`)
	x := attribution.New(mesh(t, other))
	for name, c := range map[string]struct {
		entry *accesslog.Entry
		want  string
	}{
		"no rule is noted": {change(t, atWeb, "rbac", nil), "Unknown|SeveralApplications|Allowed|Workload|shop//||-1||||jobs/nightly"},
		"a rule is noted": {change(t, atWeb),
			"Attributed||Allowed|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-allow|3|Application shop/web|spec.access.callers[1]|Caller|jobs/nightly"},
		"by default": {change(t, atWeb, denial("none")...), "Unknown|SeveralPolicies|Denied|Workload|shop//||-1|||Default|jobs/nightly"},
	} {
		if got := said(x.Of(c.entry)); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}

func TestARouteOfSeveralHostsIsFoundByTheHost(t *testing.T) {
	second := &networkingv1.VirtualService{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.istio.io/v1", Kind: "VirtualService"},
		ObjectMeta: made("istio-ingress", "second", "web", `{"objects":["SecureIngress istio-ingress/public","Application shop/web"],"fields":["spec.insecureRequests","spec.exposures[0].routes[0]"],`+
			`"rules":[[0,0,-1,"Platform","PlainHTTP"],[1,1,-1,"Application","Route"]]}`),
	}
	second.Spec.Hosts = []string{"*.second.example.com"}
	second.Spec.Http = []*networkingapi.HTTPRoute{{Name: "plain-redirect"}, {Name: "shop/web/api"}}
	x := attribution.New(mesh(t, second))
	redirect := []any{"response_code", 308, "response_code_details", "direct_response", "route_name", "plain-redirect", "rbac", nil, "authority"}
	for name, c := range map[string]struct {
		entry *accesslog.Entry
		want  string
	}{
		"the first":           {change(t, atGateway, "authority", "WEB.example.com:443"), "shop/web/api|VirtualService istio-ingress/trellis-host-public.web.example.com|5|Application shop/web|spec.exposures[0].routes[0]|Route|internet"},
		"the second":          {change(t, atGateway, "authority", "a.Second.example.com"), "shop/web/api|VirtualService istio-ingress/second|1|Application shop/web|spec.exposures[0].routes[0]|Route|internet"},
		"a host of nobody":    {change(t, atGateway, "authority", "third.example.com"), "shop/web/api||-1||||internet"},
		"a redirect":          {change(t, atGateway, append(redirect, "a.second.example.com")...), "//|VirtualService istio-ingress/second|0|SecureIngress istio-ingress/public|spec.insecureRequests|PlainHTTP|internet"},
		"a redirect of whom?": {change(t, atGateway, append(redirect, "third.example.com")...), "Unknown|RouteUnknown|Allowed|Gateway|//||-1||||internet"},
	} {
		if got := said(x.Of(c.entry)); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}

func TestPoliciesOfTheRootNamespaceAreForAllAndOthersForTheirGateway(t *testing.T) {
	mine := byHand("edge", "mine", securityapi.AuthorizationPolicy_ALLOW, "")
	mine.Spec.TargetRefs = []*typeapi.PolicyTargetReference{{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: "edge"}}
	in := mesh(t, byHand("istio-system", "all", securityapi.AuthorizationPolicy_DENY, ""), mine)
	for i, labels := range []map[string]string{{"gateway.networking.k8s.io/gateway-name": "edge"}, {"gateway.networking.k8s.io/gateway-name": "other"}} {
		in.Proxies = append(in.Proxies, xds.Node{Type: xds.Router, Namespace: "edge", Name: []string{"edge", "other"}[i], Labels: labels, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 5, byte(i)})}})
	}
	x := attribution.New(in)
	at := func(address string, rule string) string {
		return said(x.Of(change(t, atGateway, append(denial(rule), "route_name", nil, "downstream_local_address", address)...)))
	}
	for _, c := range [][3]string{
		{"10.0.5.0:443", "ns[istio-system]-policy[all]-rule[0]", "Attributed||Denied|Gateway|//|AuthorizationPolicy istio-system/all|0|AuthorizationPolicy istio-system/all|spec.rules[0]|ByHand|internet"},
		{"10.0.5.0:443", "none", "Attributed||Denied|Gateway|//|AuthorizationPolicy edge/mine|-1|AuthorizationPolicy edge/mine||Default|internet"},
		{"10.0.5.1:443", "none", "Unknown|NoPolicy|Denied|Gateway|//||-1|||Default|internet"},
	} {
		if got := at(c[0], c[1]); got != c[2] {
			t.Errorf("%s at %s: %s\nwant %s", c[1], c[0], got, c[2])
		}
	}
}

func TestAnEmptyIndexKnowsNothingAndSaysSo(t *testing.T) {
	x := attribution.New(attribution.Input{})
	for _, line := range []string{atGateway, atWeb, refusedIn, notLetOut} {
		if got := x.Of(change(t, line)); got.Outcome != attribution.Unknown || got.Why != attribution.WriterUnknown {
			t.Errorf("%s", said(got))
		}
	}
}
