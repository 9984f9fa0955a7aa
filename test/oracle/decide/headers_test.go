// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

func TestEnvoyJoinsTheFieldsOfTheSameHeaders(t *testing.T) {
	upstream := envoy.RunUpstream(t, "one")
	c := &jwtCase{name: "plain", config: nil}
	proxy := envoy.Run(t, envoy.Bootstrap([]*listenerv3.Listener{c.listener(t)}, envoy.Cluster("upstream", upstream.Address)))
	for _, name := range []string{
		"authorization", "content-type", "user-agent", "origin", "via", "accept", "referer",
		"if-none-match", "if-modified-since", "if-range", "if-unmodified-since", "content-encoding", "authorisation", "x-real-ip",
		"proxy-authorization", "content-language", "etag", "x-b3-traceid", "traceparent", "cookie", "x-a", "accept-language", "access-control-request-method", "access-control-request-headers",
		"accept-encoding", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-for", "x-request-id", "grpc-timeout",
		"cache-control", "date", "forwarded", "x-forwarded-port", "if-match", "range", "from", "pragma",
	} {
		response, err := proxy.Send(t.Context(), envoy.Call{To: proxy.Address("plain")}, "GET / HTTP/1.1\r\nHost: a\r\n"+name+": x\r\n"+name+": y\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		got := response.Got()
		if got == nil {
			t.Errorf("%s: %d %s", name, response.Status, response.Body)
			continue
		}
		var want []string
		for _, h := range got.Headers {
			if strings.EqualFold(h[0], name) {
				want = append(want, h[1])
			}
		}
		headers := stream.NewHeaders(stream.Header{Name: name, Value: "x"}, stream.Header{Name: name, Value: "y"})
		if have := headers.Values(name); !slices.Equal(have, want) {
			t.Errorf("%s: Envoy: %q, here: %q", name, want, have)
		}
	}
}
