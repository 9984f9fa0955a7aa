// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/envoy"
)

var (
	seed      = flag.Uint64("seed", 0, "of the random listeners and connections; 0 takes the time")
	listeners = flag.Int("listeners", 80, "random listeners")
	each      = flag.Int("connections", 25, "random connections to each")
)

var (
	names = []string{"a.example.com", "b.example.com", "*.example.com", "*.com", "a.b.example.com", "example.com"}
	asked = []string{"", "a.example.com", "A.Example.com", "b.example.com", "x.example.com", "a.b.example.com", "q.b.example.com", "example.com", "x.com", "localhost", "com"}
	alpns = []string{"h2", "http/1.1", "istio", "istio-http/1.1"}
	hosts = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.1.4", "127.9.0.1"}
	nets  = []string{"127.0.0.0/8", "127.0.0.0/24", "127.0.0.2/32", "127.0.1.0/24", "10.0.0.0/8"}
)

type dice struct{ *rand.Rand }

func (d dice) one(from []string) string { return from[d.IntN(len(from))] }

func (d dice) some(chance int, from []string) []string {
	var out []string
	for d.IntN(100) < chance && len(out) < 2 {
		out = append(out, d.one(from))
	}
	return out
}

func ranges(texts []string) []*corev3.CidrRange {
	var out []*corev3.CidrRange
	for _, text := range texts {
		p := netip.MustParsePrefix(text)
		out = append(out, &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))})
	}
	return out
}

func (d dice) match() *listenerv3.FilterChainMatch {
	m := &listenerv3.FilterChainMatch{
		ServerNames: d.some(40, names), ApplicationProtocols: d.some(30, alpns),
		SourcePrefixRanges: ranges(d.some(30, nets)), DirectSourcePrefixRanges: ranges(d.some(15, nets)),
		PrefixRanges: ranges(d.some(20, nets)),
	}
	switch d.IntN(4) {
	case 0:
		m.TransportProtocol = listener.TLS
	case 1:
		m.TransportProtocol = listener.RawBuffer
	}
	if d.IntN(5) == 0 {
		m.SourceType = listenerv3.FilterChainMatch_ConnectionSourceType(d.IntN(3))
	}
	return m
}

// tuples are the single matches that a match stands for: Envoy refuses two chains
// that share one.
func tuples(m *listenerv3.FilterChainMatch) []string {
	out := []string{m.GetTransportProtocol() + m.GetSourceType().String()}
	cross := func(values []string) {
		if len(values) == 0 {
			values = []string{""}
		}
		var next []string
		for _, o := range out {
			for _, v := range values {
				next = append(next, o+"|"+v)
			}
		}
		out = next
	}
	text := func(rs []*corev3.CidrRange) (all []string) {
		for _, r := range rs {
			all = append(all, prototext.Format(r))
		}
		return all
	}
	cross(m.GetServerNames())
	cross(m.GetApplicationProtocols())
	cross(text(m.GetPrefixRanges()))
	cross(text(m.GetSourcePrefixRanges()))
	cross(text(m.GetDirectSourcePrefixRanges()))
	return out
}

// listener answers each connection with the name of the chain that took it.
func (d dice) listener(name string) *listenerv3.Listener {
	l := &listenerv3.Listener{Name: name, Address: envoy.Address("127.0.0.1", 0), AccessLog: envoy.AccessLog()}
	if d.IntN(10) > 0 {
		l.ListenerFilters = append(l.ListenerFilters, envoy.TLSInspector())
	}
	if d.IntN(3) > 0 {
		l.ListenerFilters = append(l.ListenerFilters, &listenerv3.ListenerFilter{
			Name:       "envoy.filters.listener.http_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: envoy.Any(&httpinspectorv3.HttpInspector{})},
		})
	}
	taken := map[string]bool{}
	for i := range 1 + d.IntN(7) {
		m := d.match()
		own := tuples(m)
		shared := false
		for j, t := range own {
			for _, u := range own[:j] {
				shared = shared || t == u
			}
			shared = shared || taken[t]
		}
		if shared {
			continue
		}
		for _, t := range own {
			taken[t] = true
		}
		l.FilterChains = append(l.FilterChains, chain(fmt.Sprintf("chain-%d", i), m))
	}
	if len(l.FilterChains) == 0 || d.IntN(4) == 0 {
		l.DefaultFilterChain = chain("default", nil)
	}
	return l
}

func chain(name string, m *listenerv3.FilterChainMatch) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Name: name, FilterChainMatch: m, Filters: []*listenerv3.Filter{
		envoy.NetworkFilter("envoy.filters.network.direct_response", &directv3.Config{
			Response: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: name}},
		}),
	}}
}

// connect opens a connection, says what such a client says first, and returns the
// name of the chain; empty where none took it.
func connect(ctx context.Context, proxy *envoy.Proxy, to netip.AddrPort, from string, offer *stream.TLS) (string, error) {
	conn, err := proxy.Dial(ctx, envoy.Call{To: to, From: netip.MustParseAddr(from)})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	first := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if offer != nil {
		if first, err = hello(offer); err != nil {
			return "", err
		}
	}
	// What comes back is no HTTP, and may be lost in a reset.
	_, _ = conn.Send(string(first))
	entry, err := conn.Logged(ctx, 0)
	return entry.Chain, err
}

// hello is the first message of a TLS client.
func hello(offer *stream.TLS) ([]byte, error) {
	client, server := net.Pipe()
	defer func() { _ = server.Close() }()
	go func() {
		c := tls.Client(client, &tls.Config{ServerName: offer.ServerName, NextProtos: offer.Offered, InsecureSkipVerify: true})
		_ = c.Handshake()
		_ = client.Close()
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(server, header); err != nil {
		return nil, err
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{header, body}, nil), nil
}

func TestEnvoyTakesConnectionsWithTheChainThatIsDecided(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	d := dice{rand.New(rand.NewPCG(s, 0))}
	var all []*listenerv3.Listener
	for i := range *listeners {
		all = append(all, d.listener(fmt.Sprintf("listener-%d", i)))
	}
	proxy := envoy.Run(t, envoy.Bootstrap(all))
	cases := make(chan attempt)
	go func() {
		defer close(cases)
		for _, l := range all {
			chains := listener.Compile(l)
			for range *each {
				from := d.one(hosts)
				c := &stream.Connection{DirectRemote: netip.AddrPortFrom(netip.MustParseAddr(from), 1), Local: proxy.Address(l.GetName())}
				if d.IntN(3) > 0 {
					c.TLS = &stream.TLS{ServerName: d.one(asked), Offered: d.some(60, alpns)}
				}
				cases <- attempt{l, chains.Choose(c, "http/1.1"), c, from}
			}
		}
	}()
	var chosen, closed atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for a := range cases {
				if a.judge(t, proxy) == "" {
					closed.Add(1)
				} else {
					chosen.Add(1)
				}
			}
		})
	}
	wait.Wait()
	t.Logf("%d connections found a chain, %d none", chosen.Load(), closed.Load())
	if chosen.Load()*5 < closed.Load() || closed.Load()*20 < chosen.Load() {
		t.Errorf("too few connections of one kind to say anything")
	}
}

// attempt is one connection and what was decided of it.
type attempt struct {
	listener   *listenerv3.Listener
	choice     listener.Choice
	connection *stream.Connection
	from       string
}

// judge lets Envoy decide.
func (a attempt) judge(t *testing.T, proxy *envoy.Proxy) string {
	got, err := connect(t.Context(), proxy, a.connection.Local, a.from, a.connection.TLS)
	if err == nil && got != a.choice.Chain.GetName() {
		// The log tells connections apart by their ports, which come again.
		got, err = connect(t.Context(), proxy, a.connection.Local, a.from, a.connection.TLS)
	}
	if decided := a.choice.Chain.GetName(); err != nil || a.choice.Unknown != "" || got != decided {
		t.Errorf("decided %q (%s), Envoy took %q (%v): from %s, TLS %+v, inspectors %d, chains\n%s",
			decided, a.choice.Unknown, got, err, a.from, a.connection.TLS, len(a.listener.GetListenerFilters()), describe(a.listener))
	}
	return got
}

func describe(l *listenerv3.Listener) string {
	var b strings.Builder
	for _, c := range l.GetFilterChains() {
		fmt.Fprintf(&b, "  %s: %s\n", c.GetName(), strings.Join(strings.Fields(prototext.Format(c.GetFilterChainMatch())), " "))
	}
	return b.String()
}
