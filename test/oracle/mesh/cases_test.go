// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
)

// written are the objects of a case, with words for what differs from one stage to
// the next.
func written(t *testing.T, text string) []object {
	t.Helper()
	var out []object
	for _, document := range strings.Split(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		var read struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"metadata"`
			Spec fields `json:"spec"`
		}
		if err := yaml.UnmarshalStrict([]byte(document), &read); err != nil {
			t.Fatal(err)
		}
		group := networking
		switch read.Kind {
		case "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication":
			group = security
		}
		out = append(out, object{group: group, kind: read.Kind, namespace: read.Metadata.Namespace, name: read.Metadata.Name, spec: plainNumbers(read.Spec)})
	}
	return out
}

// get is a plain request, which a case changes.
func get(change func(*ask)) *ask {
	q := &ask{from: netip.MustParseAddr("127.0.0.1"), method: "GET", target: "/a"}
	change(q)
	return q
}

func caller(name, host string) *ask {
	return get(func(q *ask) {
		q.through, q.host, q.to = name, host, netip.MustParseAddrPort(play.apps[name].EgressAddress(8080))
	})
}

func toGateway(host string, change func(*ask)) *ask {
	return get(func(q *ask) {
		q.host, q.to, q.tls = host, netip.MustParseAddrPort(play.gateway.HTTPSAddress), &handshake{name: host}
		if change != nil {
			change(q)
		}
	})
}

func overHTTP2(change func(*ask)) func(*ask) {
	return func(q *ask) {
		q.version, q.tls.protocols = hcm.HTTP2, "h2"
		change(q)
	}
}

// everyHost has the gateway take every host.
const everyHost = `
kind: Gateway
metadata: {namespace: edge, name: gateway-0}
spec:
  selector: {istio: door}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: wildcard}}]
---
`

// open lets the gateway take everything and send it to the ledger.
const open = everyHost + `
kind: VirtualService
metadata: {namespace: edge, name: virtualservice-0}
spec:
  hosts: ["*"]
  gateways: [gateway-0]
  http: [{route: [{destination: {host: ledger.bank.svc.cluster.local, port: {number: 8080}}}]}]
`

// What random meshes found once, by what it taught. Both sides answer again; the
// outcomes are those that there must be at least one of.
func TestDisagreementsOfOldInAMeshStaySettled(t *testing.T) {
	for name, c := range map[string]struct {
		objects  string
		asks     func() []*ask
		outcomes []decide.Outcome
	}{
		"weights between two Services are two ends, though Istio calls the last cluster the same": {
			`
kind: VirtualService
metadata: {namespace: people, name: virtualservice-0}
spec:
  hosts: [cart.shop.svc.cluster.local]
  http:
  - route:
    - {destination: {host: ledger.bank.svc.cluster.local, port: {number: 8080}}, weight: 50}
    - {destination: {host: mainframe.legacy.svc.cluster.local, port: {number: 8080}}, weight: 50}
`, func() []*ask {
				var out []*ask
				for range 8 {
					out = append(out, caller("visitor", "cart.shop.svc.cluster.local:8080"))
				}
				return out
			}, []decide.Outcome{decide.Allow},
		},
		"where nothing is redirected, nobody can be sent to where he meant to go": {
			``, func() []*ask { return []*ask{caller("visitor", "nobody.knows.test")} }, []decide.Outcome{decide.Fails},
		},
		"a client certificate in TLS that goes through as bytes is nobody's": {
			`
kind: PeerAuthentication
metadata: {namespace: shop, name: peerauthentication-0}
spec: {mtls: {mode: DISABLE}}
---
kind: AuthorizationPolicy
metadata: {namespace: shop, name: authorizationpolicy-0}
spec: {action: DENY, rules: [{from: [{source: {principals: ["*"]}}]}]}
`, func() []*ask {
				return []*ask{get(func(q *ask) {
					q.raw, q.to = true, netip.MustParseAddrPort(play.apps["cart-1"].PortAddress("raw"))
					q.tls = &handshake{name: "www.example.com", protocols: "istio", certificate: "spiffe://cluster.local/ns/bank/sa/ledger"}
				})}
			}, []decide.Outcome{decide.Allow},
		},
		"a workload without a proxy has no certificate of the mesh": {
			`
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-0}
spec: {host: mainframe.legacy.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
`, func() []*ask { return []*ask{caller("visitor", "mainframe.legacy.svc.cluster.local:8080")} }, []decide.Outcome{decide.Fails},
		},
		"mutual TLS that nobody ends before the application fails": {
			`
kind: PeerAuthentication
metadata: {namespace: bank, name: peerauthentication-0}
spec: {mtls: {mode: DISABLE}}
---
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-0}
spec: {host: ledger.bank.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
`, func() []*ask {
				return []*ask{get(func(q *ask) {
					q.raw, q.through, q.to = true, "visitor", netip.MustParseAddrPort(play.apps["visitor"].EgressAddress(9002))
				})}
			}, []decide.Outcome{decide.Fails},
		},
		"connections of TCP that cannot be opened have no status": {
			`
kind: PeerAuthentication
metadata: {namespace: bank, name: peerauthentication-0}
spec: {mtls: {mode: STRICT}}
---
kind: DestinationRule
metadata: {namespace: people, name: destinationrule-0}
spec: {host: ledger.bank.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
`, func() []*ask {
				return []*ask{get(func(q *ask) {
					q.raw, q.through, q.to = true, "visitor", netip.MustParseAddrPort(play.apps["visitor"].EgressAddress(9002))
				})}
			}, []decide.Outcome{decide.Fails},
		},
		"HTTP/2 with a path, a host or no host that its codec refuses gets no answer": {
			open, func() []*ask {
				return []*ask{
					toGateway("www.example.com", overHTTP2(func(q *ask) { q.target = ";/a" })),
					toGateway("www.example.com", overHTTP2(func(q *ask) { q.target, q.method = "*", "OPTIONS" })),
					toGateway("www.example.com", overHTTP2(func(q *ask) { q.host = "user@www.example.com" })),
					toGateway("www.example.com", overHTTP2(func(q *ask) { q.host = "" })),
					toGateway("www.example.com", overHTTP2(func(*ask) {})),
				}
			}, []decide.Outcome{decide.Deny, decide.Allow},
		},
		"an upgrade towards HTTP/2 is one that the server's proxy does not take": {
			``, func() []*ask {
				return []*ask{get(func(q *ask) {
					q.through, q.host, q.to = "visitor", "cart.shop:8081", netip.MustParseAddrPort(play.apps["visitor"].EgressAddress(8081))
					q.fields, q.alone = [][2]string{{"upgrade", "websocket"}, {"connection", "upgrade"}}, true
				}), toGateway("www.example.com", nil)}
			}, []decide.Outcome{decide.Fails},
		},
		"bytes that are no HTTP get no answer where HTTP/2 was agreed on": {
			open, func() []*ask {
				return []*ask{
					toGateway("www.example.com", func(q *ask) { q.raw, q.tls.protocols = true, "h2" }),
					toGateway("www.example.com", func(q *ask) { q.raw = true }),
				}
			}, []decide.Outcome{decide.Fails},
		},
		"HTTP/2 with what belongs to a connection gets no answer": {
			open, func() []*ask {
				return []*ask{toGateway("www.example.com", overHTTP2(func(q *ask) { q.fields = [][2]string{{"connection", "close"}} }))}
			}, []decide.Outcome{decide.Deny},
		},
		"an empty cookie is none in HTTP/2": {
			open + `
---
kind: AuthorizationPolicy
metadata: {namespace: bank, name: authorizationpolicy-0}
spec: {action: ALLOW, rules: [{when: [{key: "request.headers[cookie]", values: ["*"]}]}]}
`, func() []*ask {
				empty := func(q *ask) { q.fields = [][2]string{{"cookie", ""}} }
				crumbs := func(q *ask) { q.fields = [][2]string{{"cookie", ""}, {"cookie", "a=1"}} }
				return []*ask{toGateway("www.example.com", empty), toGateway("www.example.com", overHTTP2(empty)), toGateway("www.example.com", overHTTP2(crumbs))}
			}, []decide.Outcome{decide.Allow, decide.Deny, decide.Allow},
		},
		"a request whose connection is refused is answered by the client's proxy": {
			`
kind: VirtualService
metadata: {namespace: people, name: virtualservice-0}
spec:
  hosts: [ledger.bank.svc.cluster.local]
  http: [{route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 9001}}}]}]
---
kind: AuthorizationPolicy
metadata: {namespace: shop, name: authorizationpolicy-0}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [people]}}]}]}
`, func() []*ask { return []*ask{caller("visitor", "ledger.bank.svc.cluster.local:8080")} }, []decide.Outcome{decide.Deny},
		},
		"of all loopback addresses one alone is forwarded as another": {
			open + `
---
kind: AuthorizationPolicy
metadata: {namespace: bank, name: authorizationpolicy-0}
spec: {action: ALLOW, rules: [{from: [{source: {remoteIpBlocks: [127.9.0.0/16]}}]}]}
`, func() []*ask {
				return []*ask{
					toGateway("www.example.com", func(q *ask) { q.from = netip.MustParseAddr("127.9.0.7") }),
					toGateway("www.example.com", func(q *ask) { q.from = netip.MustParseAddr("127.8.0.1") }),
				}
			}, []decide.Outcome{decide.Allow, decide.Deny},
		},
		"a direct answer to gRPC is no success": {
			`
kind: VirtualService
metadata: {namespace: people, name: virtualservice-0}
spec: {hosts: [ledger.bank.svc.cluster.local], http: [{directResponse: {status: 200}}]}
`, func() []*ask {
				q := caller("visitor", "ledger.bank.svc.cluster.local:8080")
				q.fields = [][2]string{{"content-type", "application/grpc"}}
				return []*ask{q}
			}, []decide.Outcome{decide.Answered},
		},
		"a fault for half of the requests leaves both ends possible": {
			`
kind: VirtualService
metadata: {namespace: people, name: virtualservice-0}
spec:
  hosts: [ledger.bank.svc.cluster.local]
  http:
  - fault: {abort: {httpStatus: 555, percentage: {value: 50}}}
    route: [{destination: {host: ledger.bank.svc.cluster.local, port: {number: 8080}}}]
`, func() []*ask {
				var out []*ask
				for range 8 {
					out = append(out, caller("visitor", "ledger.bank.svc.cluster.local:8080"))
				}
				return out
			}, []decide.Outcome{decide.Allow},
		},
		"a gateway chooses the route anew once a token is verified": {
			everyHost + fmt.Sprintf(`
kind: RequestAuthentication
metadata: {namespace: edge, name: requestauthentication-0}
spec: {jwtRules: [{issuer: %q, jwks: '%s'}]}
---
kind: VirtualService
metadata: {namespace: edge, name: virtualservice-0}
spec:
  hosts: ["*"]
  gateways: [gateway-0]
  http:
  - match: [{headers: {authorization: {regex: ".*"}}}]
    directResponse: {status: 418}
  - match: [{headers: {"@request.auth.claims.groups": {exact: admin}}}]
    route: [{destination: {host: ledger.bank.svc.cluster.local, port: {number: 8080}}}]
  - match: [{headers: {"@request.auth.claims.groups": {exact: clerk}}}]
    route:
    - {destination: {host: ledger.bank.svc.cluster.local, port: {number: 8080}}, weight: 50}
    - {destination: {host: mainframe.legacy.svc.cluster.local, port: {number: 8080}}, weight: 50}
  - redirect: {uri: /login}
`, issuerMain, play.keys.keys(issuerMain)), func() []*ask {
				var out []*ask
				for _, token := range []string{"whole", "reader", "reader", "bare", "forged"} {
					out = append(out, toGateway("www.example.com", func(q *ask) { q.fields = [][2]string{{"authorization", "Bearer " + play.keys.tokens[token]}} }))
				}
				return append(out, toGateway("www.example.com", nil))
			}, []decide.Outcome{decide.Allow, decide.Answered, decide.Deny},
		},
		"a gateway that asks for certificates of its own authority takes no others": {
			strings.ReplaceAll(open, "mode: SIMPLE, credentialName: wildcard", "mode: MUTUAL, credentialName: mutual"), func() []*ask {
				return []*ask{
					toGateway("www.example.com", func(q *ask) { q.tls.certificate = "mutual" }),
					toGateway("www.example.com", func(q *ask) { q.tls.certificate = "spiffe://cluster.local/ns/shop/sa/cart" }),
					toGateway("www.example.com", nil),
				}
			}, []decide.Outcome{decide.Allow, decide.Fails},
		},
	} {
		t.Run(name, func(t *testing.T) { agree(t, written(t, c.objects), c.asks, c.outcomes) })
	}
}

// agree plays a configuration and requests, and wants no disagreement.
func agree(t *testing.T, objects []object, asks func() []*ask, outcomes []decide.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	refused, err := play.install(ctx, objects)
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	d, err := play.settle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := asks()
	for i, q := range all {
		q.id = fmt.Sprintf("case-%d", i)
	}
	results, err := askAll(ctx, d, all)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[decide.Outcome]bool{}
	for _, r := range results {
		seen[r.verdict.Outcome] = true
		if why, is := unknown(&r.verdict); is {
			t.Errorf("%s: unknown: %s", r.ask, why)
		}
		if r.wrong != "" {
			t.Errorf("%s: %s", r.ask, r.wrong)
		}
	}
	for _, o := range outcomes {
		if !seen[o] {
			t.Errorf("nothing was decided as %s: %v", o, seen)
		}
	}
}
