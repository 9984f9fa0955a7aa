// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

func connection() *stream.Connection {
	return &stream.Connection{DirectRemote: netip.MustParseAddrPort("192.0.2.7:1234"), Local: netip.MustParseAddrPort("192.0.2.1:8080")}
}

func request(target string, headers ...string) *hcm.Request {
	var fields []stream.Header
	for _, h := range append([]string{"host: shop"}, headers...) {
		name, value, _ := strings.Cut(h, ": ")
		fields = append(fields, stream.Header{Name: name, Value: value})
	}
	return &hcm.Request{Method: "GET", Target: target, Headers: stream.Raw(fields...)}
}

// TestARefusalHasEnvoysWords has answers of Envoy 1.40 to requests that were once
// decided differently.
func TestARefusalHasEnvoysWords(t *testing.T) {
	m := hcm.Compile(&hcmv3.HttpConnectionManager{NormalizePath: wrapperspb.Bool(true)}, hcm.Surroundings{})
	with := func(r *hcm.Request, change func(*hcm.Request)) *hcm.Request {
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		request *hcm.Request
		code    int
		details string
	}{
		"a control character goes before a bad name": {request("/", "x bad: 1", "y: a\x01"), 400, "http1.invalid_characters"},
		"a host that Connection takes away":          {request("/", "connection: host"), 400, "missing_host_header"},
		"forwarded headers cannot be taken away":     {request("/", "connection: x-forwarded-for"), 400, "http1.connection_header_rejected"},
		"two lengths":                                {request("/", "content-length: 1", "transfer-encoding: chunked"), 400, "http1.content_length_and_chunked_not_allowed"},
		"an underscore in a target's host":           {request("http://x_y/"), 400, "http1.invalid_url"},
		"no path in a target":                        {request("http://x?q"), 404, "absolute_path_rejected"},
		"a fragment":                                 {request("/a#b"), 400, "path_normalization_failed"},
		"a null byte":                                {request("/%00"), 400, "path_normalization_failed"},
		"no ASCII":                                   {request("/ä"), 400, "http1.codec_error"},
		"QUERY without content-type":                 {with(request("/"), func(r *hcm.Request) { r.Method = "QUERY" }), 400, "query_missing_content_type"},
		"an unknown method":                          {with(request("/"), func(r *hcm.Request) { r.Method = "M-SEARCH" }), 400, "http1.codec_error"},
		"an old version":                             {with(request("/"), func(r *hcm.Request) { r.Version = hcm.HTTP10 }), 426, "low_version"},
		"a star":                                     {with(request("*"), func(r *hcm.Request) { r.Method = "OPTIONS" }), 404, "absolute_path_rejected"},
		"a slash in the host":                        {with(request("/"), func(r *hcm.Request) { r.Headers.Set("host", "a/b") }), 400, "http.invalid_authority"},
	} {
		o := m.Receive(connection(), c.request)
		if o.Reply == nil || o.Reply.Code != c.code || o.Reply.Details != c.details {
			t.Errorf("%s: %+v, want %d %s", name, o.Reply, c.code, c.details)
		}
	}
}

func TestAnEdgeTakesAwayWhatClientsMustNotSay(t *testing.T) {
	m := hcm.Compile(&hcmv3.HttpConnectionManager{UseRemoteAddress: wrapperspb.Bool(true)}, hcm.Surroundings{InternalOnlyHeaders: []string{"X-Secret"}})
	o := m.Receive(connection(), request("/", "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-envoy-internal: true",
		"x-envoy-retry-on: 5xx", "x-secret: 1", "x-forwarded-client-cert: By=me"))
	s := o.Stream
	if s == nil {
		t.Fatalf("refused: %+v", o)
	}
	for name, want := range map[string]string{
		"x-forwarded-for": "10.0.0.1,192.0.2.7", "x-forwarded-proto": "http", "x-envoy-internal": "", "x-envoy-retry-on": "", "x-secret": "",
		"x-forwarded-client-cert": "", "x-envoy-external-address": "192.0.2.7", ":scheme": "http",
	} {
		if got, _ := s.Headers.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if s.Connection.Remote != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("remote: %s", s.Connection.Remote)
	}
}

func TestAnUpgradeNeedsTheRouteOrTheConnectionManager(t *testing.T) {
	m := hcm.Compile(&hcmv3.HttpConnectionManager{UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}}, hcm.Surroundings{})
	o := m.Receive(connection(), request("/", "connection: Upgrade", "upgrade: WebSocket"))
	if o.Upgrade != "WebSocket" || m.Upgraded(o.Upgrade, nil) != nil {
		t.Errorf("upgrade: %+v", o)
	}
	if m.Upgraded("websocket", map[string]bool{"websocket": false}) == nil || m.Upgraded("connect", nil) == nil {
		t.Error("an upgrade that is not allowed goes through")
	}
	if m.Upgraded("connect", map[string]bool{"connect": true}) != nil {
		t.Error("an upgrade that the route allows is refused")
	}
}

func TestWhatChangesHeadersFirstIsUnknown(t *testing.T) {
	m := hcm.Compile(&hcmv3.HttpConnectionManager{EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{{Name: "x"}}}, hcm.Surroundings{})
	if o := m.Receive(connection(), request("/")); o.Unknown == "" || o.Stream != nil {
		t.Errorf("outcome: %+v", o)
	}
}

func FuzzNoManagerAndNoRequestPanics(f *testing.F) {
	f.Add([]byte{}, "/a/..;/%", "x-forwarded-for: 1.2.3.4\nconnection: upgrade", uint8(0))
	f.Add([]byte("\x1a\x00"), "*", "host", uint8(2))
	f.Fuzz(func(t *testing.T, config []byte, target, headers string, version uint8) {
		c := &hcmv3.HttpConnectionManager{}
		if proto.Unmarshal(config, c) != nil {
			c = nil
		}
		r := request(target, strings.Split(headers, "\n")...)
		r.Version = hcm.Version(version % 3)
		r.Method = []string{"GET", "CONNECT", "OPTIONS", ""}[version/3%4]
		o := hcm.Compile(c, hcm.Surroundings{}).Receive(connection(), r)
		if (o.Stream != nil) == (o.Reply != nil || o.Unknown != "") {
			t.Errorf("not one answer: %+v", o)
		}
	})
}
