// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

const (
	// denied is a line of a gateway, in Istio's default format.
	denied   = `[2026-03-01T10:00:00.000Z] "GET /api/v1/products?x=1 HTTP/2" 403 - rbac_access_denied_matched_policy[ns[istio-ingress]-policy[trellis-host-public.bookinfo.example.com.productpage.bookinfo-deny]-rule[1]] - "-" 0 19 0 - "203.0.113.7" "curl/8.5.0" "7b5d" "bookinfo.example.com" "-" outbound|9080||productpage.bookinfo.svc.cluster.local - 10.0.0.9:8443 203.0.113.7:51000 bookinfo.example.com bookinfo/productpage/catalogue`
	served   = `{"authority":"bookinfo.example.com","bytes_received":0,"connection_termination_details":null,"downstream_local_address":"10.0.0.9:8443","downstream_remote_address":"203.0.113.7:51000","method":"GET","path":"/productpage","protocol":"HTTP/2","requested_server_name":"bookinfo.example.com","response_code":200,"response_code_details":"via_upstream","response_flags":"-","route_name":"bookinfo/productpage/pages","upstream_cluster":"outbound|9080||productpage.bookinfo.svc.cluster.local","x_forwarded_for":"203.0.113.7"}`
	broken   = `[2026-03-01T10:00:00.005Z] "POST / HTTP/1.1" 503 UC upstream_reset_before_response_started{connection_termination} - "-" 3 98 12 - "-" "curl/8.5.0" "7b5d" "shop" "10.0.0.3:9080" outbound|9080||details.bookinfo.svc.cluster.local 10.0.0.8:40000 10.96.0.1:9080 10.0.0.8:51000 - default`
	listener = `[2026-03-01T10:00:00.000Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.0.0.3:9080 10.0.0.8:40000 - -`
)

func TestALineOfEitherFormatIsRead(t *testing.T) {
	e, err := accesslog.Parse(denied)
	if err != nil {
		t.Fatal(err)
	}
	if e.Method != "GET" || e.Path != "/api/v1/products?x=1" || e.Code != 403 || e.Authority != "bookinfo.example.com" ||
		e.Local != netip.MustParseAddrPort("10.0.0.9:8443") || e.Route != "bookinfo/productpage/catalogue" || e.Ending() != accesslog.Denied || e.Inbound() {
		t.Errorf("%+v", e)
	}
	if e, err = accesslog.Parse(served); err != nil || e.Path != "/productpage" || e.Code != 200 || e.Ending() != accesslog.Allowed || e.Flags != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = accesslog.Parse("[pod/details-1/istio-proxy] " + listener); err != nil || e.Method != "" || e.Ending() != accesslog.NoRoute || e.Flags[0] != "NR" {
		t.Errorf("%+v, %v", e, err)
	}
}

// A client may write what it likes into its own headers, a whole line included.
func TestAClientCannotShapeWhatIsReadOfItsLine(t *testing.T) {
	for _, agent := range []string{`a" "b`, `x" "id" "other.example.com" "1.2.3.4:1" outbound|1||x - 1.1.1.1:1 2.2.2.2:2 - r`, `[2026-03-01T10:00:00.000Z] "GET / HTTP/1.1" 200`} {
		e, err := accesslog.Parse(strings.Replace(denied, "curl/8.5.0", agent, 1))
		if err != nil || e.Authority != "bookinfo.example.com" || e.Code != 403 || e.Route != "bookinfo/productpage/catalogue" {
			t.Errorf("%s: %+v, %v", agent, e, err)
		}
	}
}

func TestALineThatWasCutIsAnErrorAndNothingElse(t *testing.T) {
	for i := range denied {
		if e, err := accesslog.Parse(denied[:i]); err == nil && e.Authority != "bookinfo.example.com" {
			t.Fatalf("the first %d bytes are read as %+v", i, e)
		}
	}
	for i := range len(served) - 1 {
		if e, err := accesslog.Parse(served[:i]); err == nil {
			t.Fatalf("the first %d bytes are read as %+v", i, e)
		}
	}
	if _, err := accesslog.Parse(strings.Repeat("x", accesslog.MaxLine+1)); err == nil {
		t.Error("a line without end is read")
	}
}

func TestDetailsSayHowARequestEnded(t *testing.T) {
	for details, want := range map[string]accesslog.Details{
		"rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]": {Kind: accesslog.KindRBAC, Policy: "ns[a]-policy[b]-rule[0]", Ending: accesslog.Denied},
		"rbac_access_denied_matched_policy[none]":                    {Kind: accesslog.KindRBAC, Ending: accesslog.Denied},
		"jwt_authn_access_denied{Jwt_is_expired}":                    {Kind: accesslog.KindToken, Reason: "Jwt is expired", Ending: accesslog.Denied},
		"upstream_reset_before_response_started{connection_failure}": {Kind: accesslog.KindFailure, Reason: "connection failure", Ending: accesslog.Failed},
		"something_of_tomorrow{x}":                                   {Kind: accesslog.KindOther, Reason: "x"},
	} {
		got := accesslog.ParseDetails(details)
		if (got.Means == "") != (got.Kind == accesslog.KindOther) {
			t.Errorf("%s means %q", details, got.Means)
		}
		if got.Means = ""; got != want {
			t.Errorf("%s: %+v, want %+v", details, got, want)
		}
	}
}

func TestALineSaysWhatADiagnosisNeeds(t *testing.T) {
	if e, err := accesslog.Parse(`[pod/web-7d/istio-proxy] {"method":"GET","path":"/","response_code":200,"response_code_details":"via_upstream"}`); err != nil || e.Writer.Pod != "web-7d" || e.Code != 200 {
		t.Errorf("JSON behind a prefix: %+v, %v", e, err)
	}
	e, err := accesslog.Parse("[pod/web-7d/istio-proxy] " + broken)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Start.Equal(time.Date(2026, 3, 1, 10, 0, 0, 5e6, time.UTC)) || e.Duration != 12*time.Millisecond || e.Received != 3 || e.Sent != 98 || e.RequestID != "7b5d" ||
		e.Upstream != netip.MustParseAddrPort("10.0.0.3:9080") || e.UpstreamLocal != netip.MustParseAddrPort("10.0.0.8:40000") || e.Writer != (accesslog.Writer{Pod: "web-7d"}) {
		t.Errorf("%+v", e)
	}
	e, err = accesslog.Parse(`{"response_code":0,"downstream_transport_failure_reason":"TLS_error:|1:x","downstream_tls_version":"TLSv1.2","upstream_local_address":"10.0.0.8:1","upstream_host":"-"}`)
	if err != nil || e.DownstreamFailure != "TLS_error:|1:x" || e.TLSVersion != "TLSv1.2" || !e.UpstreamLocal.IsValid() || e.Upstream.IsValid() ||
		e.Duration >= 0 || e.Sent >= 0 || e.Received >= 0 || !e.Start.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	// A connection that went well is a line without a word of how it ended.
	e, err = accesslog.Parse(`[2026-03-01T10:00:00.005Z] "- - -" 0 - - - "-" 78 0 1 - "-" "-" "-" "-" "10.0.0.3:3306" outbound|3306||db.shop.svc.cluster.local 10.0.0.8:40000 10.96.0.1:3306 10.0.0.8:51000 - -`)
	if err != nil || e.Received != 78 || e.Sent != 0 || e.Ending() != "" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, made := range []string{`"duration":"9223372036854775807"`, `"duration":-5`, `"duration":1e3`, `"duration":{}`} {
		if e, err := accesslog.Parse(`{"response_code":200,` + made + `}`); err != nil || e.Duration >= 0 {
			t.Errorf("%s: %+v, %v", made, e, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{denied, served, listener, "{", `{"response_code": 1e9}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := accesslog.Parse(line)
		if (e == nil) == (err == nil) {
			t.Fatalf("%+v, %v", e, err)
		}
		if e == nil {
			return
		}
		if e.Code < 0 || e.Code > 999 {
			t.Errorf("status %d", e.Code)
		}
		_ = e.Ending()
	})
}

func TestTheNameOfAClusterIsTheOneThatItHasInTheConfiguration(t *testing.T) {
	for _, line := range []string{served, denied, broken} {
		want, err := accesslog.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		// As Istio's proxies write it.
		got, err := accesslog.Parse(strings.Replace(line, want.Cluster, want.Cluster+";", 1))
		if err != nil || got.Cluster != want.Cluster {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}
