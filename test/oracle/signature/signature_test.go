// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// pair are the two proxies of all cases, each of which has a listener in both.
type pair struct {
	client, server *running
	collector      *collector
}

const bytesOf = "bytes-of-"

func start(t *testing.T, all []one) *pair {
	collector := collects(t)
	logs := envoy.Cluster("collector", collector.address)
	overHTTP2(logs)
	// Nobody answers there, so that a secret never comes.
	common := []*clusterv3.Cluster{
		envoy.Cluster("nobody", refusing(t)), envoy.Cluster("authorizer", application(t, answers("403 Forbidden"))), logs,
	}
	var listeners []*listenerv3.Listener
	clusters := slices.Clone(common)
	behind := map[string]netip.AddrPort{}
	for _, c := range all {
		switch {
		case c.none:
			behind[c.name] = refusing(t)
		case c.application == nil:
			behind[c.name] = application(t, answers("200 OK"))
		default:
			behind[c.name] = application(t, c.application)
		}
		if c.server != nil {
			listeners = append(listeners, c.server.listener(t, c.name))
			clusters = append(clusters, envoy.Cluster("inbound|"+c.name+"||", behind[c.name]))
		}
	}
	p := &pair{collector: collector, server: run(t, listeners, clusters)}
	listeners, clusters = nil, slices.Clone(common)
	for _, c := range all {
		to := behind[c.name]
		if c.server != nil {
			to = p.server.Address(c.name)
		}
		cluster := envoy.Cluster("outbound|80||"+c.name+".shop.svc.cluster.local", to)
		if c.client != nil {
			cluster.TransportSocket = envoy.TransportSocket(c.client)
		}
		if c.to != nil {
			c.to(cluster)
		}
		clusters = append(clusters, cluster)
		listeners = append(listeners, listening(t, c.name, envoy.Manager(routed(cluster.GetName(), c.route), filters(c.filter)...), ""))
		if c.bytes {
			listeners = append(listeners, listening(t, bytesOf+c.name, nil, cluster.GetName()))
		}
	}
	p.client = run(t, listeners, clusters)
	return p
}

// request is the n-th of a case, which its ID says.
func (c *one) request(n int) string {
	if c.raw != "" {
		return c.raw
	}
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\n%s\r\n\r\n", "/"+strings.TrimPrefix(c.path, "/"), c.name, c.id(n), cmp.Or(c.header, "A: b"))
}

func (c *one) id(n int) string { return fmt.Sprintf("%s.%d", c.name, n) }

// send sends the n-th request, and reads what the client's proxy logged of it.
func (p *pair) send(t *testing.T, c *one, listener string, n int) *accesslog.Entry {
	t.Helper()
	to := p.client.Address(listener)
	// That it fails is the point.
	_, _ = p.client.Send(t.Context(), envoy.Call{To: to}, c.request(n))
	e, err := p.client.line(t.Context(), textLog, func(line string, e *accesslog.Entry) bool {
		if e.Local != to || e.RequestID != "" && e.RequestID != c.id(n) {
			return false
		}
		t.Log(strings.TrimSpace(line))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// servers waits for the line of the server's proxy that belongs to one of the
// client's.
func (p *pair) servers(t *testing.T, log string, client *accesslog.Entry) *accesslog.Entry {
	t.Helper()
	e, err := p.server.line(t.Context(), log, func(line string, e *accesslog.Entry) bool {
		if signature.Relate(client, e) == signature.Unrelated || log == fieldLog && e.DownstreamFailure == "" {
			return false
		}
		t.Log(strings.TrimSpace(line))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// contains holds candidates to that what was made is among them, and nothing else is
// certain.
func (c *one) contains(t *testing.T, what string, got []signature.Candidate) {
	t.Helper()
	for i, g := range got {
		if g.Cause == c.cause && g.Holder == c.holder {
			return
		}
		if i == 0 && g.Certainty == signature.Certain {
			break
		}
	}
	t.Errorf("%s: made was %s (%s), and it is not among %+v", what, c.cause, c.holder, got)
}

// check holds them to how certain it is, too.
func (c *one) check(t *testing.T, what string, certain bool, got []signature.Candidate) {
	t.Helper()
	c.contains(t, what, got)
	if is := got[0].Certainty == signature.Certain; is != certain {
		t.Errorf("%s: certain is %t, should be %t: %+v", what, is, certain, got)
	}
}

func TestWhatEnvoysLogOfAFailureLeadsToItsCause(t *testing.T) {
	all := cases(t)
	p := start(t, all)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := signature.Lines{}
			if c.again {
				lines.Earlier = p.send(t, &c, c.name, 0)
			}
			lines.Client = p.send(t, &c, c.name, 1)
			if lines.Earlier != nil && !signature.Reused(lines.Earlier, lines.Client) {
				t.Errorf("not the same connection")
			}
			if side := signature.SideOf(lines.Client); side != signature.Client && c.raw == "" && c.path == "" && c.cause != signature.NoCluster {
				t.Errorf("the line of the client's proxy is taken for one of the %s's", side)
			}
			p.collector.sameAs(t, lines.Client)
			c.check(t, "the client's line", c.certain == byClient, signature.Of(lines))
			for _, log := range c.logs {
				level := byBoth
				if log == fieldLog {
					level = byFields
				}
				lines.Server = p.servers(t, log, lines.Client)
				c.check(t, "both lines, the server's in "+log, c.certain <= level, signature.Of(lines))
				c.contains(t, "the server's line in "+log, signature.Of(signature.Lines{Server: lines.Server}))
			}
			if c.bytes {
				entry := p.send(t, &c, bytesOf+c.name, 1)
				c.check(t, "the client's line of a connection", c.certain == byClient, signature.Of(signature.Lines{Client: entry}))
			}
		})
	}
}
