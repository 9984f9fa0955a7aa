// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// gatewayAndCart are the gateway and the workload that most worlds have.
const gatewayAndCart = `
{apiVersion: v1, kind: Service, metadata: {name: gateway, namespace: edge}, spec: {selector: {istio: gateway}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: gateway, namespace: edge, labels: {istio: gateway}}, spec: {serviceAccountName: gateway, containers: [{name: istio-proxy, image: auto}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: cart, namespace: shop}, spec: {address: 10.1.0.1, serviceAccount: cart, labels: {app: cart}, ports: {http: 8080}}}
---
`

// smallWorld has a gateway, a workload, and three others that may call it.
const smallWorld = gatewayAndCart + `
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: till, namespace: shop}, spec: {address: 10.1.0.2, serviceAccount: till, labels: {app: till}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: ops, namespace: shop}, spec: {address: 10.1.1.3, serviceAccount: ops, labels: {app: ops}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: job, namespace: batch}, spec: {address: 10.2.0.4, serviceAccount: job, labels: {app: job}}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: edge}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: cart, namespace: shop}, spec: {selector: {matchLabels: {app: cart}}, jwtRules: [{issuer: "https://login.example.com", jwksUri: "https://login.example.com/keys", forwardOriginalToken: true}]}}
`

var (
	bruteMethods = []string{"GET", "POST", "DELETE"}
	brutePaths   = []string{"/", "/a", "/a/b", "/a/b.bak", "/ab", "/admin", "/admin/x", "/adminx.bak", "/open", "/x/open", "/admin/open"}
	bruteClients = []string{"shop/till", "shop/ops", "batch/job"}
	bruteClaims  = []map[string]any{
		nil,
		{"iss": "https://login.example.com", "sub": "somebody"},
		{"iss": "https://login.example.com", "sub": "somebody", "groups": []any{"admins"}},
		{"iss": "https://login.example.com", "sub": "somebody", "groups": []any{"guests"}},
		{"iss": "https://login.example.com", "sub": "somebody", "groups": []any{"admins", "guests"}, "scope": "cart.read cart.write"},
		{"iss": "https://login.example.com", "sub": "root", "scope": "cart.read"},
	}
)

// policies are some that people write by hand, of every kind of condition.
func policies(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	some := func(of ...string) string {
		first := pick(of...)
		if r.IntN(2) == 0 {
			return "[" + first + "]"
		}
		return "[" + first + ", " + pick(of...) + "]"
	}
	path := func() string {
		return some(`/a`, `"/a/*"`, `"/admin*"`, `"*.bak"`, `"*/open"`, `"/admin/*"`, `"/*"`, `"/a*"`, `/open`, `"/{*}/open"`)
	}
	source := func() string {
		return pick(
			"principals: "+some("cluster.local/ns/shop/sa/till", "cluster.local/ns/shop/*", "cluster.local/ns/edge/sa/gateway", `"*/sa/job"`, `"*"`),
			"notPrincipals: "+some("cluster.local/ns/shop/sa/till", "cluster.local/ns/batch/sa/job"),
			"namespaces: "+some("shop", "edge", "batch"), "notNamespaces: [batch]",
			"ipBlocks: "+some("10.1.0.0/16", "10.1.1.3", "10.2.0.0/24"), "notIpBlocks: "+some("10.1.1.0/24", "10.2.0.4/32"),
			"requestPrincipals: "+some(`"https://login.example.com/*"`, "https://login.example.com/root", `"*"`), `notRequestPrincipals: ["*"]`,
		)
	}
	operation := func() string {
		return pick("paths: "+path(), "notPaths: "+path(), "methods: "+some("GET", "POST"), "notMethods: [DELETE]", "paths: "+path()+", methods: [GET]", "paths: "+path()+", notPaths: "+path())
	}
	when := func() string {
		return pick(
			`{key: "request.auth.claims[groups]", values: [admins]}`, `{key: "request.auth.claims[groups]", notValues: [guests]}`,
			`{key: "request.auth.claims[scope]", values: [cart.read]}`, `{key: source.ip, values: [10.1.0.0/24]}`, `{key: "request.auth.claims[iss]", values: ["https://login.example.com"]}`,
		)
	}
	var out strings.Builder
	for i, action := range []string{"ALLOW", "ALLOW", "DENY"}[:1+r.IntN(3)] {
		fmt.Fprintf(&out, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p%d, namespace: shop}\nspec:\n  selector: {matchLabels: {app: cart}}\n  action: %s\n  rules:\n", i, action)
		for range 1 + r.IntN(3) {
			var parts []string
			if r.IntN(3) > 0 {
				parts = append(parts, "from: [{source: {"+source()+"}}]")
			}
			if r.IntN(3) > 0 {
				parts = append(parts, "to: [{operation: {"+operation()+"}}]")
			}
			if r.IntN(3) == 0 || len(parts) == 0 {
				parts = append(parts, "when: ["+when()+"]")
			}
			fmt.Fprintf(&out, "  - {%s}\n", strings.Join(parts, ", "))
		}
	}
	route := pick("[{uri: {prefix: /}}]", "[{uri: {prefix: /a}}]", "[{uri: {exact: /open}}, {uri: {prefix: /admin/}}]", `[{uri: {regex: "/[a-m]+.*"}}]`)
	fmt.Fprintf(&out, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: cart, namespace: edge}\nspec: {hosts: [shop.example.com], gateways: [public], http: [{name: cart, match: %s, route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}]}]}\n", route)
	if r.IntN(2) == 0 {
		out.WriteString("---\n{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: shop}, spec: {mtls: {mode: STRICT}}}\n")
	}
	return out.String()
}

// one is a request of the enumeration.
type one struct {
	client, method, path string
	claims               map[string]any
}

func everyRequest() []one {
	var out []one
	for _, client := range append([]string{""}, bruteClients...) {
		for _, method := range bruteMethods {
			for _, path := range brutePaths {
				for _, claims := range bruteClaims {
					out = append(out, one{client, method, path, claims})
				}
			}
		}
	}
	return out
}

func (o one) ask(t *testing.T, w *ask.World) decide.Outcome {
	t.Helper()
	host := "shop.example.com"
	r := &ask.Request{Method: o.method}
	if namespace, name, inside := strings.Cut(o.client, "/"); inside {
		r.From, host = &ask.WorkloadRef{Namespace: namespace, Name: name}, "cart.shop.svc.cluster.local"
	}
	r.URL = &url.URL{Scheme: "http", Host: host, Path: o.path}
	if o.claims != nil {
		claims, err := structpb.NewStruct(o.claims)
		if err != nil {
			t.Fatal(err)
		}
		r.Claims = claims
	}
	answer, err := w.Can(r)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return answer.Outcome
}

// covered reports whether the words of a row are about a request.
func (o one) covered(row *ask.Reach) bool {
	switch row.Clients {
	case ask.FromInternet:
		if o.client != "" {
			return false
		}
	case ask.Workloads:
		if o.client == "" || !row.Any && !slices.Contains(row.From, o.client) || row.Port != 8080 {
			return false
		}
	case ask.Nobody, ask.Plaintext:
		return false
	}
	return o.inWords(row.Methods, row.Paths, row.Token)
}

func (o one) inWords(methods, paths, token []string) bool {
	if !slices.ContainsFunc(methods, func(m string) bool { return said(m, o.method) }) || !slices.ContainsFunc(paths, func(p string) bool { return said(p, o.path) }) {
		return false
	}
	for _, need := range token {
		name, value, _ := strings.Cut(need, " ")
		if name == "issuer" {
			name = "iss"
		}
		if value == "*" && o.claims[name] != nil {
			continue
		}
		if !has(o.claims[name], value) {
			return false
		}
	}
	return true
}

func has(claim any, value string) bool {
	switch claim := claim.(type) {
	case string:
		return claim == value || slices.Contains(strings.Fields(claim), value)
	case []any:
		return slices.Contains(claim, any(value))
	}
	return false
}

// said reads the words of an answer as a person does.
func said(words, text string) bool {
	taken, left, some := strings.Cut(words, " but not ")
	for _, pattern := range strings.Split(taken, " and ") {
		if !glob(pattern, text) {
			return false
		}
	}
	if some {
		for _, pattern := range strings.Split(left, ", ") {
			if glob(pattern, text) {
				return false
			}
		}
	}
	return true
}

func glob(pattern, text string) bool {
	if below, ok := strings.CutSuffix(pattern, "[/*]"); ok {
		return text == below || strings.HasPrefix(text, below+"/")
	}
	if expression, ok := strings.CutPrefix(pattern, "~"); ok {
		return regexp.MustCompile(`\A(?:` + expression + `)\z`).MatchString(text)
	}
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	return len(text) >= len(before)+len(after) && strings.HasPrefix(text, before) && strings.HasSuffix(text, after)
}

// TestEveryRequestIsWhatTheRowsSay asks of small random worlds for every request of
// an enumeration alone, and holds the rows of who, exposed and diff to the answers.
func TestEveryRequestIsWhatTheRowsSay(t *testing.T) {
	allowed, changed := 0, 0
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			var sides [2]*mesh.Mesh
			var texts [2]string
			for i := range sides {
				texts[i] = policies(r)
				if i == 1 && r.IntN(4) == 0 {
					texts[1] = texts[0]
				}
				file := filepath.Join(t.TempDir(), "all.yaml")
				if err := os.WriteFile(file, []byte(smallWorld+texts[i]), 0o600); err != nil {
					t.Fatal(err)
				}
				m := open(t, file)
				for _, p := range m.Problems {
					if p.Kind == xds.Refused {
						t.Fatalf("Istio refuses %+v\n%s", p, texts[i])
					}
				}
				sides[i] = m
			}
			allowed += holdsWho(t, sides[0].World, texts[0])
			changed += holdsDiff(t, sides, texts)
		})
	}
	if allowed < 1000 || changed < 500 {
		t.Errorf("%d allowed requests and %d changed ones are too few to show anything", allowed, changed)
	}
}

func holdsWho(t *testing.T, w *ask.World, text string) (allowed int) {
	t.Helper()
	who, err := w.Who(ask.Target{Workload: ask.WorkloadRef{Namespace: "shop", Name: "cart"}})
	if err != nil {
		t.Fatal(err)
	}
	exposed := w.Exposed()
	for _, o := range everyRequest() {
		outcome := o.ask(t, w)
		inWho := slices.ContainsFunc(who.Rows, func(row ask.Reach) bool { return o.covered(&row) })
		if outcome == decide.Allow {
			allowed++
			if !inWho {
				t.Fatalf("%+v is allowed, and no row of who is about it\n%s\n%s", o, rowsText(who.Rows), text)
			}
		}
		// What needs no token is open to those without one.
		if outcome != decide.Allow && o.claims == nil && inWho {
			t.Fatalf("%+v is %s, and a row of who says that it passes\n%s\n%s", o, outcome, rowsText(who.Rows), text)
		}
		if o.client != "" {
			continue
		}
		inExposed := slices.ContainsFunc(exposed.Exposures, func(e ask.Exposure) bool { return o.inWords(e.Methods, e.Paths, e.Token) })
		if outcome == decide.Allow && !inExposed || outcome != decide.Allow && o.claims == nil && inExposed {
			t.Fatalf("%+v is %s, and among the exposures: %v\n%+v\n%s", o, outcome, inExposed, exposed.Exposures, text)
		}
	}
	for _, row := range who.Rows {
		witnessed(t, w, row.Witness, decide.Allow, text)
	}
	for _, e := range exposed.Exposures {
		witnessed(t, w, e.Witness, decide.Allow, text)
	}
	return allowed
}

func holdsDiff(t *testing.T, meshes [2]*mesh.Mesh, texts [2]string) (changed int) {
	t.Helper()
	sides := [2]*ask.World{meshes[0].World, meshes[1].World}
	diff := mesh.Diff(t.Context(), meshes[0], meshes[1])
	if whole := ask.Diff(sides[0], sides[1], nil); !reflect.DeepEqual(diff.Changes.Changes, whole.Changes) || !reflect.DeepEqual(diff.Notes, whole.Notes) {
		t.Fatalf("what is compared of proxies that changed alone is not what is compared of all:\n%+v\n%+v\n%s\n======\n%s", diff, whole, texts[0], texts[1])
	}
	if !diff.Complete() {
		t.Logf("notes: %v", diff.Notes)
	}
	for _, o := range everyRequest() {
		before, after := o.ask(t, sides[0]), o.ask(t, sides[1])
		if (before == decide.Allow) == (after == decide.Allow) {
			continue
		}
		changed++
		effect := ask.NewlyAllowed
		if before == decide.Allow {
			effect = ask.NewlyDenied
		}
		if !slices.ContainsFunc(diff.Changes.Changes, func(c ask.Change) bool { return c.Effect == effect && o.covered(&c.Reach) }) {
			t.Fatalf("%+v was %s and is %s, and no change is about it\n%+v\n%s\n======\n%s", o, before, after, diff.Changes, texts[0], texts[1])
		}
	}
	for _, c := range diff.Changes.Changes {
		witnessed(t, sides[0], c.Witness, c.Before.Outcome, texts[0])
		witnessed(t, sides[1], c.Witness, c.After.Outcome, texts[1])
	}
	return changed
}

// witnessed asks for a witness alone, where that can be.
func witnessed(t *testing.T, w *ask.World, witness ask.Witness, want decide.Outcome, text string) {
	t.Helper()
	r, err := witness.Request()
	// A gateway's own connections pass no proxy of its, and nobody knows the endpoints
	// of a WorkloadEntry but proxies.
	if err != nil || witness.From == "edge/gateway" {
		return
	}
	answer, err := w.Can(r)
	if err != nil {
		t.Fatalf("%+v: %v", witness, err)
	}
	if answer.Outcome != want {
		t.Fatalf("the witness %v is %s, and not %s\n%s", witness.Arguments(), answer.Outcome, want, text)
	}
}

func rowsText(rows []ask.Reach) string {
	var out strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&out, "%s %v any=%v port %d: %q %q %s %q %q\n", r.Clients, r.From, r.Any, r.Port, r.Methods, r.Paths, r.Needs, r.Token, r.Only)
	}
	return out.String()
}

// TestAHostThatNoRuleNamesIsComparedToo: of a gateway's policy with rules for other hosts
// nothing is left for a host, but that it refuses or takes all the rest.
func TestAHostThatNoRuleNamesIsComparedToo(t *testing.T) {
	const base = gatewayAndCart + `
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: edge}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: cart, namespace: edge}, spec: {hosts: ["*.example.com"], gateways: [public], http: [{route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}]}]}}
`
	policy := func(action string) string {
		rules := ""
		for _, host := range []string{"a", "b", "c", "d", "e"} {
			rules += fmt.Sprintf(`{to: [{operation: {hosts: ["%s.example.com"]}}]}, `, host)
		}
		return fmt.Sprintf("---\n{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: hosts, namespace: edge}, spec: {action: %s, rules: [%s]}}\n", action, rules)
	}
	for _, c := range []struct {
		name, before, after string
		effect              ask.Effect
	}{
		{"an ALLOW policy goes", policy("ALLOW"), "", ask.NewlyAllowed},
		{"an ALLOW policy comes", "", policy("ALLOW"), ask.NewlyDenied},
		{"a DENY policy becomes an ALLOW policy", policy("DENY"), policy("ALLOW"), ask.NewlyDenied},
		{"an ALLOW policy becomes a DENY policy", policy("ALLOW"), policy("DENY"), ask.NewlyAllowed},
		{"a policy that allows nothing comes", "", "---\n{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: none, namespace: edge}, spec: {}}\n", ask.NewlyDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sides [2]*mesh.Mesh
			for i, text := range []string{c.before, c.after} {
				file := filepath.Join(t.TempDir(), "all.yaml")
				if err := os.WriteFile(file, []byte(base+text), 0o600); err != nil {
					t.Fatal(err)
				}
				sides[i] = open(t, file)
			}
			diff := mesh.Diff(t.Context(), sides[0], sides[1])
			if !slices.ContainsFunc(diff.Changes.Changes, func(one ask.Change) bool {
				return one.Effect == c.effect && !strings.Contains(one.Witness.URL, "://a.") && !strings.Contains(one.Witness.URL, "://e.")
			}) {
				t.Errorf("no change is about the hosts that no rule names: %+v", diff.Changes.Changes)
			}
		})
	}
}

// TestARouteThatNoRuleHoldsForIsExposed: an EnvoyFilter may leave a filter out for one
// route; what its rules refuse for certain they do not refuse there.
func TestARouteThatNoRuleHoldsForIsExposed(t *testing.T) {
	const world = gatewayAndCart + `
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: edge}, spec: {selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: cart, namespace: edge}, spec: {hosts: [shop.example.com], gateways: [public], http: [
  {name: left-out, match: [{uri: {prefix: /open}}], route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}]},
  {name: rest, route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: none, namespace: edge}, spec: {selector: {matchLabels: {istio: gateway}}}}
---
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: left-out, namespace: edge}, spec: {workloadSelector: {labels: {istio: gateway}}, configPatches: [
  {applyTo: HTTP_ROUTE, match: {context: GATEWAY, routeConfiguration: {vhost: {route: {name: left-out}}}},
   patch: {operation: MERGE, value: {typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}}}}]}}
`
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(world), 0o600); err != nil {
		t.Fatal(err)
	}
	exposed := open(t, file).Exposed()
	if len(exposed.Exposures) != 1 || exposed.Exposures[0].Route != "left-out" || !slices.Equal(exposed.Exposures[0].Paths, []string{"/open*"}) {
		t.Errorf("exposed is %+v", exposed)
	}
}
