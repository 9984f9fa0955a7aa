// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"testing"

	"github.com/trellis-mesh/trellis/internal/mtls"
)

// expected is what the check says of one pair.
type expected struct {
	status               mtls.Status
	server, client, rule string
}

const strictShop = `
kind: PeerAuthentication
metadata: {namespace: shop, name: peerauthentication-0}
spec: {mtls: {mode: STRICT}}
---
`

// plainCart has all clients of the cart's own namespace's rule send plaintext.
const plainCart = `
kind: DestinationRule
metadata: {namespace: shop, name: destinationrule-0}
spec: {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
---
`

// What Istio makes of policies is not what most people would say. Each case is
// what the check says of the visitor (in namespace people) and a service, and what
// becomes of requests.
func TestWhatSurprisesPeopleAboutMutualTLSIsCheckedAsItIs(t *testing.T) {
	const cart, mainframe = "cart.shop.svc.cluster.local", "mainframe.legacy.svc.cluster.local"
	for name, c := range map[string]struct {
		// first is there before the rest: its objects are the older ones.
		first, objects string
		host, subset   string
		want           *expected // nil: there is no such row
	}{
		"a workload that is STRICT in a mesh that is DISABLED is sent plaintext": {
			objects: `
kind: PeerAuthentication
metadata: {namespace: istio-system, name: peerauthentication-0}
spec: {mtls: {mode: DISABLE}}
---
kind: PeerAuthentication
metadata: {namespace: shop, name: peerauthentication-1}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}
`, host: cart, want: &expected{mtls.Conflict, "mTLS", "HTTP", ""},
		},
		"a workload that is DISABLED in a mesh that is STRICT is sent plaintext, too, and well": {
			objects: `
kind: PeerAuthentication
metadata: {namespace: istio-system, name: peerauthentication-0}
spec: {mtls: {mode: STRICT}}
---
kind: PeerAuthentication
metadata: {namespace: shop, name: peerauthentication-1}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: DISABLE}}
`, host: cart, want: &expected{mtls.OK, "HTTP", "HTTP", ""},
		},
		"a rule for everything in the client's namespace comes before one for the host in the service's": {
			objects: strictShop + `
kind: DestinationRule
metadata: {namespace: shop, name: destinationrule-0}
spec: {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-1}
spec: {host: "*.local", trafficPolicy: {tls: {mode: DISABLE}}}
`, host: cart, want: &expected{mtls.Conflict, "mTLS", "HTTP", "destinationrule-1/people"},
		},
		"a rule for other workloads hides the rules of other namespaces": {
			objects: plainCart + `
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-1}
spec: {host: cart.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: nobody}}, trafficPolicy: {tls: {mode: DISABLE}}}
`, host: cart, want: &expected{mtls.OK, "mTLS/HTTP", "mTLS", ""},
		},
		"a rule for the host that is exported to others hides a public one for its domain": {
			objects: `
kind: DestinationRule
metadata: {namespace: shop, name: destinationrule-0}
spec: {host: cart.shop.svc.cluster.local, exportTo: [bank], trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
kind: DestinationRule
metadata: {namespace: shop, name: destinationrule-1}
spec: {host: "*.shop.svc.cluster.local", trafficPolicy: {tls: {mode: DISABLE}}}
`, host: cart, want: &expected{mtls.OK, "mTLS/HTTP", "mTLS", ""},
		},
		"workloads that a rule selects lose the subsets of the rule beside it": {
			objects: selectedBeside(""), host: cart, subset: "v1",
		},
		"workloads that a rule selects keep the subsets of a private rule beside it": {
			objects: selectedBeside(`exportTo: ["."], `), host: cart, subset: "v1",
			want: &expected{mtls.OK, "mTLS/HTTP", "HTTP", "destinationrule-1/people"},
		},
		"of two rules for a host, a public and a private one, the newer counts": {
			first: `
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-0}
spec: {host: cart.shop.svc.cluster.local, exportTo: ["*"], trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
`, objects: strictShop + `
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-1}
spec: {host: cart.shop.svc.cluster.local, exportTo: ["."], trafficPolicy: {tls: {mode: DISABLE}}}
`, host: cart, want: &expected{mtls.Conflict, "mTLS", "HTTP", "destinationrule-1/people"},
		},
		"settings of a port without TLS leave it to those of the rule": {
			objects: strictShop + `
kind: DestinationRule
metadata: {namespace: shop, name: destinationrule-0}
spec:
  host: cart.shop.svc.cluster.local
  trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 8080}, loadBalancer: {simple: RANDOM}}]}
`, host: cart, want: &expected{mtls.Conflict, "mTLS", "HTTP", "destinationrule-0/shop"},
		},
		"mutual TLS to a workload without a proxy fails": {
			objects: `
kind: DestinationRule
metadata: {namespace: legacy, name: destinationrule-0}
spec: {host: mainframe.legacy.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
`, host: mainframe, want: &expected{mtls.Conflict, "HTTP", "mTLS", "destinationrule-0/legacy"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			count := &mutual{statuses: map[mtls.Status]int{}}
			older := written(t, c.first)
			if len(older) > 0 {
				if _, err := play.install(t.Context(), older); err != nil {
					t.Fatal(err)
				}
			}
			a := &author{stage: play, n: map[string]int{}}
			a.toSubsets()
			a.toEverything()
			count.configuration(t, 0, append(append(older, written(t, c.objects)...), a.out...))
			var got *expected
			for _, one := range count.before {
				if one.from == "visitor" && one.row.Host == c.host && one.row.Port == 8080 && one.row.Subset == c.subset {
					got = &expected{one.row.Status, one.row.Server(), one.row.Sent(), one.row.DestinationRule}
				}
			}
			switch {
			case c.want == nil && got != nil:
				t.Errorf("there is a row: %+v", *got)
			case c.want != nil && (got == nil || *got != *c.want):
				t.Errorf("got %+v, want %+v", got, *c.want)
			}
			if _, err := play.settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			count.compareLogs(t)
		})
	}
}

// selectedBeside is a rule with subsets beside one that selects the visitor.
func selectedBeside(exported string) string {
	return `
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-0}
spec: {host: cart.shop.svc.cluster.local, ` + exported + `subsets: [{name: v1, labels: {version: v1}}]}
---
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-1}
spec: {host: cart.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: visitor}}, trafficPolicy: {tls: {mode: DISABLE}}}
`
}
