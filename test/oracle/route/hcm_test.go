// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// told are the request headers that a test's routes tell back, as response headers
// with "got-" before them. Those of HTTP/2 lose their colon.
var told = []string{":path", ":authority", ":scheme", "x-forwarded-proto", "x-forwarded-port", "x-envoy-internal",
	"x-envoy-external-address", "x-envoy-retry-on", "x-envoy-original-path", "x-envoy-max-retries", "x-secret", "x-forwarded-client-cert",
	"x_under", "x-named", "te", "referer", "via", "upgrade", "connection", "x-two", "cookie", "x-client-ip", "authorization", "origin"}

// echo are response headers that tell what the proxy has of a request.
func echo() []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, name := range told {
		out = append(out, header("got-"+strings.TrimPrefix(name, ":"), "[%REQ("+name+")%]"))
	}
	return append(out, header("got-remote", "[%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%]"))
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

// parse cuts an HTTP/1 request in wire form up. It is as generous as it can be:
// what is wrong must reach the decision.
func parse(raw string) *hcm.Request {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first := strings.SplitN(lines[0], " ", 3)
	out := &hcm.Request{Method: first[0], Target: first[1], Body: body != ""}
	if first[2] != "HTTP/1.1" {
		out.Version = hcm.HTTP10
	}
	var fields []stream.Header
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		fields = append(fields, stream.Header{Name: name, Value: value})
	}
	out.Headers = stream.Raw(fields...)
	return out
}

// compareHead says how an outcome differs from what Envoy did; empty for not at
// all.
func compareHead(o hcm.Outcome, r *envoy.Response, e envoy.Entry) string {
	switch {
	case o.Unknown != "":
		return ""
	case o.Reply != nil:
		if status(o.Reply, r) && o.Reply.Details == e.Details && strings.Join(o.Reply.Flags, ",") == e.Flags {
			return ""
		}
		return fmt.Sprintf("decided %d %s %v, Envoy: %d %s %s", o.Reply.Code, o.Reply.Details, o.Reply.Flags, r.Status, e.Details, e.Flags)
	case r.Header.Get("Grpc-Status") != "" && e.Details == "direct_response":
		return ""
	case r.Status != 299:
		return fmt.Sprintf("decided that it goes on, Envoy: %d %s %s", r.Status, e.Details, e.Flags)
	}
	var diff []string
	for _, name := range told {
		want := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("got-"+strings.TrimPrefix(name, ":")), "["), "]")
		got, _ := o.Stream.Headers.Get(name) // %REQ% tells the first
		if got != want {
			diff = append(diff, fmt.Sprintf("%s: decided %q, Envoy %q", name, got, want))
		}
	}
	if got, want := o.Stream.Connection.Remote.String(), strings.Trim(r.Header.Get("got-remote"), "[]"); got != want {
		diff = append(diff, fmt.Sprintf("remote: decided %s, Envoy %s", got, want))
	}
	return strings.Join(diff, "; ")
}

// status is whether an answer has the code of a reply, as HTTP or as gRPC.
func status(reply *stream.Reply, r *envoy.Response) bool {
	if got := r.Header.Get("Grpc-Status"); got != "" {
		return r.Status == 200 && got == strconv.Itoa(reply.GRPCStatus())
	}
	return r.Status == reply.Code
}

func echoRoutes() *routev3.RouteConfiguration {
	out := envoy.Everything()
	out.InternalOnlyHeaders = []string{"X-Secret"}
	route := out.VirtualHosts[0].Routes[0]
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 299}}
	route.ResponseHeadersToAdd = echo()
	return out
}

func TestPathsAreNormalisedAsEnvoyDoesIt(t *testing.T) {
	d := roll(t)
	manager := envoy.Manager(echoRoutes())
	manager.NormalizePath = wrapperspb.Bool(true)
	p := envoy.Run(t, envoy.Bootstrap([]*listenerv3.Listener{envoy.HTTPListener("l", manager, nil)}))
	conn, err := p.Dial(t.Context(), envoy.Call{To: p.Address("l")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close() }()
	wrong := 0
	for range rounds(20000) {
		path := d.path()
		r, err := conn.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if r.Status != 299 { // Envoy may close the connection then
			conn.Close()
			if conn, err = p.Dial(t.Context(), envoy.Call{To: p.Address("l")}); err != nil {
				t.Fatal(err)
			}
		}
		got, ok := hcm.NormalizePath(path)
		ok = ok && !strings.Contains(path, "#")
		want := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("got-path"), "["), "]")
		if ok != (r.Status == 299) || ok && got != want {
			t.Errorf("%q: decided %q %v, Envoy %q %d", path, got, ok, want, r.Status)
			if wrong++; wrong > 20 {
				t.FailNow()
			}
		}
	}
}

// manager is a random connection manager.
func (d dice) manager() *hcmv3.HttpConnectionManager {
	m := envoy.Manager(echoRoutes())
	m.NormalizePath = wrapperspb.Bool(d.maybe(60))
	m.MergeSlashes = d.maybe(40)
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction(d.IntN(5))
	m.UseRemoteAddress = wrapperspb.Bool(d.maybe(50))
	m.XffNumTrustedHops = uint32(d.IntN(3))
	m.SkipXffAppend = true // what is appended for a loopback client is the machine's own address
	m.StripTrailingHostDot = d.maybe(40)
	switch d.IntN(3) {
	case 0:
		m.StripPortMode = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}
	case 1:
		m.StripMatchingHostPort = true
	}
	m.AppendXForwardedPort = d.maybe(20)
	if d.maybe(30) {
		m.Via = "trellis"
	}
	if d.maybe(50) {
		m.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{
			{AddressPrefix: "127.0.0.0", PrefixLen: wrapperspb.UInt32(8)}, {AddressPrefix: "10.0.0.0", PrefixLen: wrapperspb.UInt32(8)},
		}}
	}
	if d.maybe(20) {
		m.SchemeHeaderTransformation = &corev3.SchemeHeaderTransformation{Transformation: &corev3.SchemeHeaderTransformation_SchemeToOverwrite{SchemeToOverwrite: "https"}}
	}
	m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_ForwardClientCertDetails(d.IntN(5))
	m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
		HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_HeadersWithUnderscoresAction(d.IntN(3)),
		MaxHeadersCount:              wrapperspb.UInt32(uint32(8 + d.IntN(8))),
	}
	m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{
		AcceptHttp_10: d.maybe(50), DefaultHostForHttp_10: d.one("", "old.example"), AllowChunkedLength: d.maybe(30),
		AllowCustomMethods: d.maybe(20),
	}
	if d.maybe(30) {
		m.HttpProtocolOptions.AllowAbsoluteUrl = wrapperspb.Bool(false)
	}
	if d.maybe(50) {
		m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{
			{UpgradeType: "websocket"}, {UpgradeType: "foo", Enabled: wrapperspb.Bool(false)},
		}
	}
	return m
}

// request is a random HTTP/1 request, many of them wrong in some way.
func (d dice) request() string {
	method := d.one("GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "DELETE", "PURGE")
	target := d.path()
	version := "HTTP/1.1"
	host := d.host()
	if d.maybe(25) {
		switch d.IntN(4) {
		case 0:
			method = d.one("FOO", "get", "PRI", "CONNECT", "M-SEARCH", "OPTIONS", "QUERY", "G,T")
		case 1:
			target = d.one("*", "http://x.y/a", "http://x.y:80/a?b", "https://x.y/", "http://x.y", "HTTP://X.y/b", "ftp://x.y/a", "http://u:p@x.y/a",
				"http://[::1]:80/", "http://x.y?q", "http:///a", "//x/y", "foo", "http://x_y/", "http://x.y:/a", "http://x.y:99999/", "a.b:443",
				"http://a@b@c/", "http://x!y/", "http://x.y:80:80/", "x://y/z", "http://x.y#f")
		case 2:
			version = d.one("HTTP/1.0", "HTTP/1.0", "HTTP/1.2")
		case 3:
			host = d.one("a b", "a/b", "a,b", "ä", "a@b", `a"b`, "[::1]", "[::1]:80", ":80", "a:", "a:b", "a:+80", "a..", "a.:80", "a%20b", "<a>")
		}
	}
	fields := []string{"Host: " + host}
	if d.maybe(3) {
		fields = nil
	}
	for range d.IntN(5) {
		fields = append(fields, d.field())
	}
	d.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	if d.maybe(2) {
		for range d.IntN(16) {
			fields = append(fields, "x-two: z")
		}
	}
	return method + " " + target + " " + version + "\r\n" + strings.Join(append(fields, "", ""), "\r\n")
}

func (d dice) host() string {
	name := d.one("shop.example.com", "Shop.Example.COM", "a", "shop", "api.shop.example.com", "10.1.2.3", "x.y", "")
	return name + d.one("", "", "", ".") + d.one("", "", "", ":80", ":8080", ":0080", ":443", ":")
}

func (d dice) field() string {
	return d.one("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 10.0.0.1", "x-forwarded-for: 1.2.3.4, 10.0.0.1", "x-forwarded-for: bad, ::1",
		"x-forwarded-for: 9.9.9.9:80", "x-forwarded-for: ", "X-Forwarded-For: 1.1.1.1,2.2.2.2 , 3.3.3.3", "x-forwarded-proto: https", "x-forwarded-proto: ftp",
		"x-forwarded-proto: HTTPS", "X-Forwarded-Port: 99", "x-envoy-internal: true", "x-envoy-retry-on: 5xx", "x-envoy-original-path: /z", "x-envoy-max-retries: 3", "x-secret: 1",
		"x-forwarded-client-cert: By=x", "x_under: 1", "x-named: 1", "x-two: 1", "x-two: 2", "te: trailers", "te: gzip, trailers", "te: gzip", "referer: http://a/b", "referer: foo", "referer: foo:80", "referer: http://u@b/", "referer: /x:y",
		"referer: ", "via: 1.1 z", "connection: close", "connection: keep-alive", "connection: x-named", "connection: x-forwarded-for", "connection: te, X-Two", "connection: :path", "connection: upgrade",
		"connection: cookie", "connection: host", "connection: keep-alive, ", "connection: x-forwarded-host", "connection: x-forwarded-proto", "connection: content-length", "connection: x-envoy-internal", "connection: http2-settings",
		"upgrade: websocket", "upgrade: foo", "upgrade: h2c", "upgrade: WebSocket", "content-length: 0", "content-length: -1", "content-length: x", "transfer-encoding: gzip", "transfer-encoding: identity",
		"cookie: a=1", "cookie: b=2", "expect: nothing", "x bad: 1", "x-\xc3: 1", "x-ctl: a\x01b", "x-hi: \xc3\xa4", ": 1", "keep-alive: 5", "proxy-connection: close",
		"content-type: application/grpc", "content-type: application/grpc+x", "x-client-ip: 4.4.4.4", "authorization: Bearer a", "authorization: Bearer b", "origin: http://a", "Host: other", "content-type: a/b")
}

func TestTheConnectionManagerDoesWhatEnvoyDoes(t *testing.T) {
	d := roll(t)
	const managers = 12
	var listeners []*listenerv3.Listener
	var configs []*hcmv3.HttpConnectionManager
	for i := range managers {
		configs = append(configs, d.manager())
		listeners = append(listeners, envoy.HTTPListener(fmt.Sprint("m", i), configs[i], nil))
	}
	p := envoy.Run(t, envoy.Bootstrap(listeners))
	type asked struct {
		raw      string
		response *envoy.Response
		outcome  hcm.Outcome
		manager  int
	}
	var all []asked
	for i, config := range configs {
		m := hcm.Compile(config, hcm.Surroundings{InternalOnlyHeaders: []string{"X-Secret"}})
		to := p.Address(fmt.Sprint("m", i))
		for range rounds(1500) {
			raw := d.request()
			from := netip.MustParseAddr(d.one("127.0.0.1", "127.0.0.9"))
			r, err := p.Send(t.Context(), envoy.Call{To: to, From: from}, raw)
			if err != nil {
				t.Errorf("%q: %v", raw, err)
				continue
			}
			connection := &stream.Connection{DirectRemote: netip.AddrPortFrom(from, 1), Local: to}
			o := m.Receive(connection, parse(raw))
			if o.Upgrade != "" {
				if reply := m.Upgraded(o.Upgrade, nil); reply != nil {
					o = hcm.Outcome{Reply: reply}
				}
			}
			all = append(all, asked{raw, r, o, i})
		}
	}
	judge(t, len(all), func(i int) (string, string) {
		a := all[i]
		e, err := a.response.Logged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return compareHead(a.outcome, a.response, e), fmt.Sprintf("%q\nmanager: %s", a.raw, shown(configs[a.manager]))
	})
}

// shown is a configuration without what all of them have.
func shown(m *hcmv3.HttpConnectionManager) string {
	m.RouteSpecifier, m.HttpFilters = nil, nil
	text, _ := protojson.Marshal(m)
	return string(text)
}

// judge reports the first disagreements, and how many there were.
func judge(t *testing.T, n int, disagreement func(i int) (diff, what string)) {
	t.Helper()
	wrong := 0
	for i := range n {
		if diff, what := disagreement(i); diff != "" {
			if wrong++; wrong <= 15 {
				t.Errorf("%s\n%s", diff, what)
			}
		}
	}
	t.Logf("%d requests, %d disagreements", n, wrong)
}
