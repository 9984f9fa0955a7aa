// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// known are all texts that an Attribution may have in this mesh, but for peers.
func known() []string {
	return []string{
		"", "shop", "jobs", "old", "web", "api", "pages",
		string(hits.Gateway), string(hits.Workload), string(hits.Allowed), string(hits.Denied), string(hits.WouldDeny), string(hits.Failed),
	}
}

// held checks that nothing a stranger has written is in a Key.
func held(t *testing.T, k hits.Key) {
	t.Helper()
	for _, text := range []string{k.Namespace, k.Application, k.Route, string(k.Place), string(k.Verdict)} {
		if !slices.Contains(known(), text) {
			t.Errorf("it keeps %q", text)
		}
	}
	for _, text := range []string{k.Object, k.Statement} {
		_, name, _ := strings.Cut(text, " ")
		if text != "" && !strings.Contains("shop/trellis-application-web-deny shop/trellis-application-web-allow shop/trellis-application-web-shadow "+
			"shop/trellis-application-web-paths shop/trellis-application-web shop/web istio-ingress/public istio-ingress/trellis-ingress-public-deny istio-ingress/trellis-ingress-public-allow "+
			"istio-ingress/trellis-ingress-public istio-ingress/trellis-host-public.web.example.com istio-ingress/trellis-host-public.web.example.com.web.shop-deny "+
			"istio-ingress/trellis-host-public.web.example.com.web.shop-allow test-not-to-staging old/ledger old/no-night old/one old/two old/asking old/people istio-system/default", name) {
			t.Errorf("it keeps %q", text)
		}
	}
	if len(k.Peer) > 600 || len(k.Field) > 60 || len(k.Reason) > 30 || k.Rule < -1 || k.Rule > 100 {
		t.Errorf("it keeps %+v", k)
	}
	if signature.Cause(k.Reason).MutualTLS() && k.Verdict != hits.Failed {
		t.Errorf("%+v", k)
	}
}

// FuzzOf takes fields as a stranger may shape them, and entries that were cut.
func FuzzOf(f *testing.F) {
	add := func(line string, more ...any) {
		e := change(f, line, more...)
		f.Add(e.Details, e.Termination, e.Cluster, e.Route, e.Authority, e.Peer, strings.Join(e.Flags, ","), e.TransportFailure, e.RBAC.Enforced.Policy, e.RBAC.TriedDeny.Policy, e.Local.String(), "shop", "web-1", e.Method, uint16(e.Code))
	}
	for _, line := range []string{atGateway, atWeb, refusedIn, notLetOut} {
		add(line)
	}
	for _, rule := range []string{
		"none", "ns[shop]-policy[trellis-application-web-deny]-rule[0]", "ns[shop]-policy[trellis-application-web-deny]-rule[99999999999999999999]", "ns[shop]-policy[trellis-app",
		"istio-ext-authz-a-ns[old]-policy[asking]-rule[0]", "ns[]-policy[]-rule[]", strings.Repeat("ns[", 5000),
	} {
		add(atWeb, denial(rule)...)
		add(atWeb, "rbac", rbac("enforced_engine_result", "allowed", "enforced_effective_policy_id", rule, "istio_dry_run_deny_shadow_engine_result", "denied", "istio_dry_run_deny_shadow_effective_policy_id", rule))
	}
	add(atWeb, "downstream_peer_uri_san", "spiffe:///ns//sa/")
	add(atWeb, "upstream_cluster", "inbound|")
	add(atGateway, "authority", ":", "route_name", "odd-path")
	x := attribution.New(mesh(f, others()...))
	f.Fuzz(func(t *testing.T, details, termination, cluster, route, authority, peer, flag, failure, rule, tried, local, namespace, pod, method string, code uint16) {
		e := &accesslog.Entry{
			Details: details, Termination: termination, Cluster: cluster, Route: route, Authority: authority, Peer: peer, Flags: strings.Split(flag, ","), TransportFailure: failure,
			Method: method, Code: int(code), Writer: accesslog.Writer{Namespace: namespace, Pod: pod},
			RBAC: accesslog.RBAC{Enforced: accesslog.Noted{Verdict: accesslog.NotedAllowed, Policy: rule}, TriedDeny: accesslog.Noted{Verdict: accesslog.NotedDenied, Policy: tried}},
		}
		_ = e.Local.UnmarshalText([]byte(local))
		got := x.Of(e)
		switch got.Outcome {
		case attribution.Attributed, attribution.Unknown, attribution.Elsewhere, attribution.Aside:
		default:
			t.Errorf("outcome %q", got.Outcome)
		}
		if (got.Outcome == attribution.Unknown) && got.Why == "" || got.Outcome == attribution.Attributed && got.Verdict == "" {
			t.Errorf("%+v", got)
		}
		held(t, got.Key)
		for _, k := range got.Would {
			held(t, k)
		}
	})
}

func TestWhatALongPathCostsIsWhatAShortOneDoes(t *testing.T) {
	x := attribution.New(mesh(t, others()...))
	for name, e := range map[string]*accesslog.Entry{
		"let through": change(t, atGateway), "refused": change(t, atWeb, denial("ns[shop]-policy[trellis-application-web-deny]-rule[0]")...), "by default": change(t, atWeb, denial("none")...),
	} {
		short := testing.AllocsPerRun(100, func() { x.Of(e) })
		e.Path, e.Authority, e.ForwardedFor = "/"+strings.Repeat("x", 60<<10), strings.Repeat("y", 60<<10), strings.Repeat("z", 60<<10)
		if long := testing.AllocsPerRun(100, func() { x.Of(e) }); long > short || short > 4 {
			t.Errorf("%s: %g allocations, and %g with a long path", name, short, long)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	x := attribution.New(mesh(b, others()...))
	for name, e := range map[string]*accesslog.Entry{
		"gateway": change(b, atGateway), "allowed": change(b, atWeb), "denied": change(b, atWeb, denial("ns[shop]-policy[trellis-application-web-deny]-rule[0]")...),
		"default":   change(b, atWeb, denial("none")...),
		"token":     change(b, atGateway, "response_code", 401, "response_code_details", "jwt_authn_access_denied{Jwt_is_expired}", "rbac", nil),
		"mutualTLS": change(b, atGateway, "response_code", 503, "response_flags", "UF", "response_code_details", "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}", "upstream_transport_failure_reason", "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Of(e)
			}
		})
	}
}
