// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
)

// Entries as proxies of the local stack wrote them (test/stack), with the names of this
// mesh.
const (
	atGateway = `{"authority":"web.example.com","connection_termination_details":null,"downstream_local_address":"10.0.0.9:8443","downstream_peer_uri_san":null,"downstream_remote_address":"127.0.0.1:56040","downstream_transport_failure_reason":null,"duration":5,"method":"GET","path":"/api/x?a=1","protocol":"HTTP/1.1","rbac":{"enforced_effective_policy_id":"ns[istio-ingress]-policy[trellis-host-public.web.example.com.web.shop-allow]-rule[0]","enforced_engine_result":"allowed"},"request_id":"b53619db","requested_server_name":"web.example.com","response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"shop/web/api","start_time":"2026-11-29T15:52:31.355Z","upstream_cluster":"outbound|80||web.shop.svc.cluster.local;","upstream_host":"10.0.0.1:8080","upstream_transport_failure_reason":null}`
	atWeb     = `{"authority":"web.shop.svc.cluster.local","connection_termination_details":null,"downstream_local_address":"10.0.0.1:8080","downstream_peer_uri_san":"spiffe://cluster.local/ns/jobs/sa/nightly","downstream_remote_address":"10.0.1.1:35530","downstream_transport_failure_reason":null,"duration":0,"method":"GET","path":"/api/x","protocol":"HTTP/1.1","rbac":{"enforced_effective_policy_id":"ns[shop]-policy[trellis-application-web-allow]-rule[3]","enforced_engine_result":"allowed"},"request_id":"bc10a769","requested_server_name":"outbound_.80_._.web.shop.svc.cluster.local","response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"default","start_time":"2026-11-29T15:52:31.982Z","upstream_cluster":"inbound|8080||;","upstream_host":"127.0.0.1:46013","upstream_transport_failure_reason":null}`
	refusedIn = `{"authority":null,"connection_termination_details":null,"downstream_local_address":"10.0.0.1:8080","downstream_peer_uri_san":null,"downstream_remote_address":"10.9.9.9:40000","downstream_transport_failure_reason":null,"duration":0,"method":null,"path":null,"protocol":null,"rbac":null,"request_id":null,"requested_server_name":null,"response_code":0,"response_code_details":"filter_chain_not_found","response_flags":"NR","route_name":null,"start_time":"2026-11-29T15:53:45.816Z","upstream_cluster":null,"upstream_host":null,"upstream_transport_failure_reason":null}`
	notLetOut = `{"authority":null,"connection_termination_details":null,"downstream_local_address":"198.51.100.7:8080","downstream_peer_uri_san":null,"downstream_remote_address":"10.0.0.1:40000","downstream_transport_failure_reason":null,"duration":0,"method":null,"path":null,"protocol":null,"rbac":null,"request_id":null,"requested_server_name":null,"response_code":0,"response_code_details":null,"response_flags":"UH","route_name":null,"start_time":"2026-11-29T15:52:32.280Z","upstream_cluster":"BlackHoleCluster;","upstream_host":null,"upstream_transport_failure_reason":null}`
)

// change is an entry with other values of some fields.
func change(t testing.TB, line string, pairs ...any) *accesslog.Entry {
	t.Helper()
	fields := map[string]any{}
	must(t, json.Unmarshal([]byte(line), &fields))
	for i := 0; i < len(pairs); i += 2 {
		fields[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	raw, err := json.Marshal(fields)
	must(t, err)
	e, err := accesslog.Parse(string(raw))
	must(t, err)
	return e
}

func rbac(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// denial are the fields of a request that a rule refused.
func denial(rule string) []any {
	return []any{"response_code", 403, "response_code_details", "rbac_access_denied_matched_policy[" + rule + "]", "upstream_host", nil,
		"rbac", rbac("enforced_engine_result", "denied", "enforced_effective_policy_id", rule)}
}

// said is an Attribution in one line.
func said(a attribution.Attribution) string {
	k := a.Key
	return strings.Join([]string{string(a.Outcome), string(a.Why), string(k.Verdict), string(k.Place), k.Namespace + "/" + k.Application + "/" + k.Route, k.Object, fmt.Sprint(k.Rule), k.Statement, k.Field, k.Reason, k.Peer}, "|")
}

func TestEveryEntryIsJoinedToWhatSomebodyWrote(t *testing.T) {
	x := attribution.New(mesh(t, others()...))
	writtenBy := func(e *accesslog.Entry, namespace, pod string) *accesslog.Entry {
		e.Writer = accesslog.Writer{Namespace: namespace, Pod: pod}
		return e
	}
	atLedger := []any{"downstream_local_address", "10.0.2.1:9000", "upstream_cluster", "inbound|9000||;", "rbac", nil}
	with := func(more ...[]any) []any {
		var out []any
		for _, m := range more {
			out = append(out, m...)
		}
		return out
	}
	for name, c := range map[string]struct {
		entry *accesslog.Entry
		want  string
	}{
		"a request that a gateway let through": {change(t, atGateway),
			"Attributed||Allowed|Gateway|shop/web/api|VirtualService istio-ingress/trellis-host-public.web.example.com|5|Application shop/web|spec.exposures[0].routes[0]|Route|internet"},
		"a request without a token": {change(t, atGateway, denial("ns[istio-ingress]-policy[trellis-host-public.web.example.com.web.shop-deny]-rule[0]")...),
			"Attributed||Denied|Gateway|shop/web/api|AuthorizationPolicy istio-ingress/trellis-host-public.web.example.com.web.shop-deny|0|Application shop/web|spec.routes[0].authentication|NoToken|internet"},
		"a rule of the gateway's own": {change(t, atGateway, denial("ns[istio-ingress]-policy[trellis-ingress-public-deny]-rule[0]")...),
			"Attributed||Denied|Gateway|shop/web/api|AuthorizationPolicy istio-ingress/trellis-ingress-public-deny|0|SecureIngress istio-ingress/public|spec.identityProviders[0]|Issuer|internet"},
		"a token that is not good": {change(t, atGateway, "response_code", 401, "response_code_details", "jwt_authn_access_denied{Jwt_is_expired}", "rbac", nil),
			"Attributed||Denied|Gateway|shop/web/api|RequestAuthentication istio-ingress/trellis-ingress-public|0|SecureIngress istio-ingress/public|spec.identityProviders[0]|TokenRefused|internet"},
		"a path that the gateway refuses": {change(t, atGateway, "response_code", 400, "response_code_details", "direct_response", "route_name", "odd-path", "rbac", nil),
			"Attributed||Denied|Gateway|//|VirtualService istio-ingress/trellis-host-public.web.example.com|3|SecureIngress istio-ingress/public||Path|internet"},
		"a redirect": {change(t, atGateway, "response_code", 308, "response_code_details", "direct_response", "route_name", "plain-redirect", "rbac", nil),
			"Attributed||Allowed|Gateway|//|VirtualService istio-ingress/trellis-host-public.web.example.com|2|SecureIngress istio-ingress/public|spec.insecureRequests|PlainHTTP|internet"},
		"a host that the gateway does not serve": {change(t, atGateway, "response_code", 404, "response_code_details", "route_not_found", "response_flags", "NR", "route_name", nil, "rbac", nil),
			"Attributed||Failed|Gateway|//||-1|||NoRoute|internet"},
		"no answer in time": {change(t, atGateway, "response_code", 504, "response_code_details", "response_timeout", "response_flags", "UT"),
			"Attributed||Failed|Gateway|shop/web/api||-1|||Timeout|internet"},
		"mutual TLS that what a gateway calls does not speak": {change(t, atGateway, "response_code", 503, "response_flags", "UF", "response_code_details", "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}", "upstream_transport_failure_reason", "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"),
			"Attributed||Failed|Gateway|shop/web/api||-1|||MutualTLSToPlaintext|internet"},
		"a route of somebody else's": {change(t, atGateway, "route_name", "mine"), "Unknown|RouteUnknown|Allowed|Gateway|//||-1||||internet"},
		"a probe of Trellis's":       {change(t, atGateway, "route_name", "probe", "response_code", 418, "response_code_details", "direct_response"), "Aside||||//||0||||"},
		"Istio's health probe":       {change(t, atGateway, "downstream_local_address", "10.0.0.9:15021"), "Aside||||//||0||||"},

		"a caller that a rule lets in": {change(t, atWeb),
			"Attributed||Allowed|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-allow|3|Application shop/web|spec.access.callers[1]|Caller|jobs/nightly"},
		"a route that a rule lets a gateway reach": {change(t, atWeb, "downstream_peer_uri_san", "spiffe://cluster.local/ns/istio-ingress/sa/istio-ingressgateway", "rbac", rbac("enforced_engine_result", "allowed", "enforced_effective_policy_id", "ns[shop]-policy[trellis-application-web-allow]-rule[1]")),
			"Attributed||Allowed|Workload|shop/web/pages|AuthorizationPolicy shop/trellis-application-web-allow|1|Application shop/web|spec.exposures[0].routes[1]|Route|istio-ingress/istio-ingressgateway"},
		"an Envoy that does not note who let it in": {change(t, atWeb, "rbac", nil), "Attributed||Allowed|Workload|shop/web/api||-1||||jobs/nightly"},
		"a rule that allowed and is not known": {change(t, atWeb, "rbac", rbac("enforced_engine_result", "allowed", "enforced_effective_policy_id", "ns[shop]-policy[trellis-application-web-allow]-rule[77]")),
			"Attributed|RuleUnknown|Allowed|Workload|shop/web/api||-1||||jobs/nightly"},
		"a caller that is not let in": {change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-deny]-rule[0]")...),
			"Attributed||Denied|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-deny|0|Application shop/web|spec.access.callers|Caller|jobs/nightly"},
		"a path that the workload's proxy refuses": {change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-paths]-rule[0]")...),
			"Attributed||Denied|Workload|shop/web/api|EnvoyFilter shop/trellis-application-web-paths|0|Application shop/web|spec.routes|Path|jobs/nightly"},
		"a default denial": {change(t, atWeb, denial("none")...),
			"Attributed||Denied|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-allow|-1|Application shop/web||Default|jobs/nightly"},
		"a peer of another mesh":      {change(t, atWeb, "downstream_peer_uri_san", "spiffe://far.example/ns/a/sa/b"), "Attributed||Allowed|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-allow|3|Application shop/web|spec.access.callers[1]|Caller|far.example/a/b"},
		"a peer without certificate":  {change(t, atWeb, "downstream_peer_uri_san", nil, "rbac", nil), "Attributed||Allowed|Workload|shop/web/api||-1||||none"},
		"a peer that is no identity":  {change(t, atWeb, "downstream_peer_uri_san", "spiffe://a/ns/b c/sa/d", "rbac", nil), "Attributed||Allowed|Workload|shop/web/api||-1||||unknown"},
		"plaintext where none may be": {change(t, refusedIn), "Attributed||Failed|Workload|shop/web/|PeerAuthentication istio-system/default|0|PeerAuthentication istio-system/default|spec.mtls|PlaintextToStrict|none"},
		"a client that went away":     {change(t, atWeb, "response_code", 0, "response_flags", "DC", "response_code_details", "downstream_remote_disconnect"), "Attributed||Failed|Workload|shop/web/api||-1|||ClientGone|jobs/nightly"},

		"a denial of somebody else's": {change(t, atWeb, with(denial("ns[old]-policy[no-night]-rule[0]"), atLedger)...),
			"Attributed||Denied|Workload|old//|AuthorizationPolicy old/no-night|0|AuthorizationPolicy old/no-night|spec.rules[0]|ByHand|jobs/nightly"},
		"a default denial of somebody else's": {change(t, atWeb, with(denial("none"), atLedger)...),
			"Attributed||Denied|Workload|old//|AuthorizationPolicy old/ledger|-1|AuthorizationPolicy old/ledger||Default|jobs/nightly"},
		"a default denial of several": {change(t, atWeb, with(denial("none"), atLedger, []any{"downstream_local_address", "10.0.2.2:9000"})...),
			"Unknown|SeveralPolicies|Denied|Workload|old//||-1|||Default|jobs/nightly"},
		"an authorizer": {change(t, atWeb, with(atLedger, []any{"response_code", 403, "response_code_details", "ext_authz_denied", "response_flags", "UAEX"})...),
			"Attributed||Denied|Workload|old//|AuthorizationPolicy old/asking|0|AuthorizationPolicy old/asking|spec.rules[0]|Authorizer|jobs/nightly"},
		"a token of somebody else's": {change(t, atWeb, with(atLedger, []any{"response_code", 401, "response_code_details", "jwt_authn_access_denied{Jwt_issuer_is_not_configured}"})...),
			"Attributed||Denied|Workload|old//|RequestAuthentication old/people|0|RequestAuthentication old/people|spec.jwtRules[0]|TokenRefused|jobs/nightly"},
		"a default denial where nothing allows": {change(t, atWeb, with(denial("none"), []any{"downstream_local_address", "10.0.1.1:8080"})...),
			"Unknown|NoPolicy|Denied|Workload|jobs//||-1|||Default|jobs/nightly"},

		"a rule that nobody knows":                 {change(t, atWeb, denial("ns[shop]-policy[other]-rule[0]")...), "Unknown|RuleUnknown|Denied|Workload|shop/web/api||-1||||jobs/nightly"},
		"a number that the policy does not have":   {change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-deny]-rule[99]")...), "Unknown|RuleUnknown|Denied|Workload|shop/web/api||-1||||jobs/nightly"},
		"a rule of another workload":               {change(t, atWeb, denial("ns[old]-policy[no-night]-rule[0]")...), "Unknown|RuleElsewhere|Denied|Workload|shop/web/api||-1||||jobs/nightly"},
		"a denial by a rule that allows":           {change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-allow]-rule[0]")...), "Unknown|RuleElsewhere|Denied|Workload|shop/web/api||-1||||jobs/nightly"},
		"a denial by a rule that is only tried":    {change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-shadow]-rule[0]")...), "Unknown|RuleElsewhere|Denied|Workload|shop/web/api||-1||||jobs/nightly"},
		"a workload that nobody knows":             {change(t, atWeb, "downstream_local_address", "10.7.7.7:8080"), "Unknown|WriterUnknown|Allowed||//||-1||||jobs/nightly"},
		"a pod that nobody knows":                  {writtenBy(change(t, atWeb), "shop", "web-9"), "Unknown|WriterUnknown|Allowed||//||-1||||jobs/nightly"},
		"a denial at a workload that nobody knows": {change(t, atWeb, append(denial("ns[shop]-policy[trellis-application-web-deny]-rule[0]"), "downstream_local_address", "10.7.7.7:8080")...), "Attributed||Denied|Workload|shop/web/api|AuthorizationPolicy shop/trellis-application-web-deny|0|Application shop/web|spec.access.callers|Caller|jobs/nightly"},

		"what a workload called, and reached":                  {writtenBy(change(t, atGateway, "route_name", "default", "downstream_local_address", "10.96.0.1:80"), "jobs", "nightly"), "Elsewhere||||//||0||||"},
		"a call that is not let out, where nobody stated that": {writtenBy(change(t, notLetOut), "jobs", "nightly"), "Unknown|NoPolicy|Denied|Workload|jobs//||-1||||jobs/nightly"},
		"a call by who knows whom":                             {change(t, notLetOut), "Unknown|WriterUnknown|||//||-1||||unknown"},
		"mutual TLS with a bad certificate":                    {writtenBy(change(t, atGateway, "route_name", "default", "downstream_local_address", "10.96.0.1:80", "response_code", 503, "response_flags", "UF", "response_code_details", "upstream_reset_before_response_started{remote_connection_failure}", "upstream_transport_failure_reason", "TLS_error:|268435581:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end"), "jobs", "nightly"), "Attributed||Failed|Workload|jobs//||-1|||CertificateExpired|jobs/nightly"},
		"a listener for what is sent":                          {writtenBy(change(t, refusedIn), "jobs", "nightly"), "Elsewhere||||//||0||||"},
		"an entry that does not say how":                       {change(t, atWeb, "response_code_details", nil), "Unknown|EndingUnknown||Workload|shop/web/api||-1||||jobs/nightly"},
		"the pod goes before the address":                      {writtenBy(change(t, atWeb, "rbac", nil, "downstream_local_address", "10.0.2.1:8080"), "shop", "web-2"), "Attributed||Allowed|Workload|shop/web/api||-1||||jobs/nightly"},
		"a connection that was let through":                    {writtenBy(change(t, atWeb, "method", nil, "path", nil, "response_code", 0, "response_code_details", nil, "rbac", nil), "shop", "web-1"), "Attributed||Allowed|Workload|shop/web/||-1||||jobs/nightly"},
		"a connection that a rule refused":                     {change(t, atWeb, "method", nil, "path", nil, "response_code", 0, "response_code_details", nil, "rbac", nil, "connection_termination_details", "rbac_access_denied_matched_policy[ns[shop]-policy[trellis-application-web-deny]-rule[4]]"), "Attributed||Denied|Workload|shop/web/|AuthorizationPolicy shop/trellis-application-web-deny|4|Application shop/web|spec.access.callers|Caller|jobs/nightly"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(x.Of(c.entry)); got != c.want {
				t.Errorf("\n     %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestADefaultDenialNamesAllThatAllow(t *testing.T) {
	x := attribution.New(mesh(t, others()...))
	got := x.Of(change(t, atWeb, append(denial("none"), "downstream_local_address", "10.0.2.2:9000")...))
	if strings.Join(got.Among, ", ") != "AuthorizationPolicy old/one, AuthorizationPolicy old/two" {
		t.Errorf("%v", got.Among)
	}
}

func TestWhatIsOnlyTriedStandsBesideWhatBecameOfARequest(t *testing.T) {
	x := attribution.New(mesh(t, others()...))
	const rule = "ns[shop]-policy[trellis-application-web-shadow]-rule[0]"
	note := rbac("enforced_engine_result", "allowed", "enforced_effective_policy_id", "ns[shop]-policy[trellis-application-web-allow]-rule[2]",
		"istio_dry_run_deny_shadow_engine_result", "denied", "istio_dry_run_deny_shadow_effective_policy_id", rule)
	got := x.Of(change(t, atWeb, "rbac", note, "downstream_peer_uri_san", "spiffe://cluster.local/ns/testers/sa/t"))
	if got.Verdict != hits.Allowed || len(got.Would) != 1 || got.WouldUnknown != "" {
		t.Fatalf("%+v", got)
	}
	want := hits.Key{
		Namespace: "shop", Application: "web", Route: "api", Place: hits.Workload, Object: "AuthorizationPolicy shop/trellis-application-web-shadow",
		Statement: "ClusterPolicyBinding test-not-to-staging", Field: "spec.policy", Reason: "Policy", Verdict: hits.WouldDeny, Peer: "testers/t",
	}
	if got.Would[0] != want {
		t.Errorf("%+v, want %+v", got.Would[0], want)
	}
	for name, c := range map[string]struct {
		change map[string]string
		want   attribution.Why
	}{
		"it would let it through":   {rbac("istio_dry_run_deny_shadow_engine_result", "allowed"), ""},
		"a rule that nobody knows":  {rbac("istio_dry_run_deny_shadow_effective_policy_id", "ns[shop]-policy[gone]-rule[0]"), attribution.RuleUnknown},
		"a rule that is not tried":  {rbac("istio_dry_run_deny_shadow_effective_policy_id", "ns[shop]-policy[trellis-application-web-deny]-rule[0]"), attribution.RuleElsewhere},
		"a default that none tries": {rbac("istio_dry_run_deny_shadow_engine_result", "allowed", "istio_dry_run_allow_shadow_engine_result", "denied"), attribution.NoPolicy},
	} {
		changed := maps.Clone(note)
		maps.Copy(changed, c.change)
		if got := x.Of(change(t, atWeb, "rbac", changed)); len(got.Would) != 0 || got.WouldUnknown != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestPodsOfOneWorkloadAreAlike(t *testing.T) {
	x := attribution.New(mesh(t))
	one, two := x.Of(change(t, atWeb)), x.Of(change(t, atWeb, "downstream_local_address", "10.0.0.2:8080"))
	if said(one) != said(two) {
		t.Errorf("%s and %s", said(one), said(two))
	}
}
