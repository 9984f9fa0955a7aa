// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

var (
	seed      = flag.Uint64("seed", 0, "of the random configurations and requests; 0 takes the time")
	configs   = flag.Int("configs", 60, "random configurations for each kind")
	perConfig = flag.Int("requests", 50, "random requests for each configuration")
)

func newDice(t *testing.T) dice {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	return dice{rand.New(rand.NewPCG(s, 0))}
}

// rbacCase is one listener with RBAC filters.
type rbacCase struct {
	name    string
	filters []*httprbacv3.RBAC
	route   *httprbacv3.RBACPerRoute // of the first filter; nil: none
	secure  bool
	state   string
	// requests are made by dice when there are none.
	requests []request
	// clients are those of secure when there are none.
	clients func(*envoy.Authority) []client
}

func (c *rbacCase) listener(t testing.TB, authority *envoy.Authority) *listenerv3.Listener {
	filters := before(t, c.state)
	for i, f := range c.filters {
		filters = append(filters, envoy.HTTPFilter(fmt.Sprintf("rbac-%d", i), f))
	}
	routes := envoy.Everything()
	routes.VirtualHosts[0].Routes[0].Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"test": metadata(t)}}
	if c.route != nil {
		routes.VirtualHosts[0].Routes[0].TypedPerFilterConfig = map[string]*anypb.Any{"rbac-0": envoy.Any(c.route)}
	}
	return listen(c.name, c.secure, authority, routes, filters)
}

func listen(name string, secure bool, authority *envoy.Authority, routes *routev3.RouteConfiguration, filters []*hcmv3.HttpFilter) *listenerv3.Listener {
	var socket *corev3.TransportSocket
	if secure {
		socket = envoy.TransportSocket(authority.Server(false, "http/1.1"))
	}
	return envoy.HTTPListener(name, envoy.Manager(routes, filters...), socket)
}

// decision is what both say of a request.
type decision struct {
	status   int
	details  string
	metadata map[string]any
}

func (c *rbacCase) decide(t testing.TB, s *stream.Stream) decision {
	t.Helper()
	s.Metadata.Merge("test", metadata(t))
	s.RouteMetadata = stream.NewMetadata(map[string]*structpb.Struct{"test": metadata(t)})
	s.FilterState = map[string]string{stateKey: c.state}
	out := decision{status: 200, details: "direct_response"}
	for i, config := range c.filters {
		filter, err := rbac.NewHTTP(config)
		if err != nil {
			t.Fatalf("%s: Envoy takes what this refuses: %v\n%s", c.name, err, text(config))
		}
		if i == 0 && c.route != nil {
			route, err := rbac.NewHTTPRoute(c.route)
			if err != nil {
				t.Fatalf("%s: Envoy takes what this refuses: %v\n%s", c.name, err, text(c.route))
			}
			filter = filter.ForRoute(route)
		}
		v := filter.Decide(s)
		if v.Why() != "" {
			t.Errorf("%s: unknown: %s", c.name, v.Why())
		}
		if v.Outcome() == rbac.Denied {
			out = decision{status: rbac.DeniedStatus, details: v.Details()}
			break
		}
	}
	out.metadata = s.Metadata.Of("envoy.filters.http.rbac").AsMap()
	return out
}

func text(m proto.Message) string {
	// One line for each configuration: there may be many.
	return protojson.MarshalOptions{}.Format(m)
}

// run sends the requests of all cases to one Envoy and compares.
func runRBAC(t *testing.T, d dice, cases []*rbacCase) {
	authority := envoy.NewAuthority(t)
	var listeners []*listenerv3.Listener
	for _, c := range cases {
		listeners = append(listeners, c.listener(t, authority))
	}
	proxy := envoy.Run(t, envoy.Bootstrap(listeners))
	total, denied := 0, 0
	ways := map[bool][]client{false: clients(authority, false), true: clients(authority, true)}
	for _, c := range cases {
		requests := c.requests
		if requests == nil {
			for range *perConfig {
				requests = append(requests, d.request())
			}
		}
		from := ways[c.secure]
		if c.clients != nil {
			from = c.clients(authority)
		}
		for _, asked := range send(t, proxy, c.name, from, requests) {
			want := decision{status: asked.status, details: asked.entry.Details, metadata: asked.entry.RBAC}
			got := c.decide(t, asked.client.stream(t, asked.request, asked.entry))
			total++
			if want.status == 403 {
				denied++
			}
			if got.status != want.status || got.details != want.details || !sameMetadata(got.metadata, want.metadata) {
				t.Errorf("%s: %q from %+v (%s):\nEnvoy: %+v\nhere:  %+v\n%s", c.name, asked.request.raw, asked.client.identity, asked.entry.Subject, want, got, c.text())
				return
			}
		}
	}
	t.Logf("%d requests, %d denied", total, denied)
}

func (c *rbacCase) text() string {
	var out string
	for _, f := range c.filters {
		out += text(f) + "\n"
	}
	if c.route != nil {
		out += "route: " + text(c.route)
	}
	return out
}

func sameMetadata(a, b map[string]any) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// asked is a request, who sent it and what Envoy said.
type asked struct {
	client  client
	request request
	status  int
	body    string
	entry   envoy.Entry
}

// send spreads requests over the ways to connect, one connection for each.
func send(t *testing.T, proxy *envoy.Proxy, listener string, ways []client, requests []request) []asked {
	t.Helper()
	type pending struct {
		asked
		response *envoy.Response
	}
	var sent []pending
	for i, w := range ways {
		call := envoy.Call{To: proxy.Address(listener), From: w.from, TLS: w.config}
		conn, err := proxy.Dial(t.Context(), call)
		if err != nil {
			t.Fatalf("%s: %v", listener, err)
		}
		for j := i; j < len(requests); j += len(ways) {
			response, err := conn.Send(requests[j].raw)
			if err != nil {
				t.Fatalf("%s: %v: %q", listener, err, requests[j].raw)
			}
			sent = append(sent, pending{asked{client: w, request: requests[j], status: response.Status, body: string(response.Body)}, response})
			if response.Close {
				conn.Close()
				if conn, err = proxy.Dial(t.Context(), call); err != nil {
					t.Fatalf("%s: %v", listener, err)
				}
			}
		}
		conn.Close()
	}
	var out []asked
	for _, p := range sent {
		entry, err := p.response.Logged(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", listener, err)
		}
		if entry.Method != p.request.method {
			t.Fatalf("%s: the access log has another request in the place of %q: %+v", listener, p.request.raw, entry)
		}
		p.entry = entry
		out = append(out, p.asked)
	}
	return out
}

func TestEnvoyAgreesOnRandomRBAC(t *testing.T) {
	d := newDice(t)
	var cases []*rbacCase
	for i := range *configs {
		c := &rbacCase{name: fmt.Sprintf("random-%d", i), secure: i%2 == 1, state: pick(d, values[1:])}
		for range 1 + d.IntN(3) {
			c.filters = append(c.filters, d.httpRBAC())
		}
		if d.chance(0.2) {
			c.route = &httprbacv3.RBACPerRoute{}
			if d.chance(0.7) {
				c.route.Rbac = d.httpRBAC()
			}
		}
		cases = append(cases, c)
	}
	runRBAC(t, d, cases)
}
