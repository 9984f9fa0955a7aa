// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/listener"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// ask is one request, or bytes that are none.
type ask struct {
	id string
	// from is the client's own address, to what it connects to.
	from netip.Addr
	to   netip.AddrPort
	// through is the workload whose proxy it is sent through; empty for none.
	through string
	// meant is where the connection meant to go before it was redirected to that proxy.
	meant netip.AddrPort
	tls   *handshake
	// raw sends bytes that are no HTTP.
	raw            bool
	version        hcm.Version
	method, target string
	host           string
	fields         [][2]string
	body           string
	// alone needs a connection of its own.
	alone bool
}

// handshake is what a client offers in TLS.
type handshake struct {
	name      string
	protocols string // comma-separated
	// certificate is a SPIFFE ID of the mesh, or "mutual" for a partner's.
	certificate string
}

func (q *ask) String() string {
	where := q.to.String()
	if q.through != "" {
		where += " through the proxy of " + q.through
	}
	if q.tls != nil {
		where += fmt.Sprintf(" by TLS for %q offering %q as %q", q.tls.name, q.tls.protocols, q.tls.certificate)
	}
	if q.raw {
		return "bytes from " + q.from.String() + " to " + where
	}
	return fmt.Sprintf("%s %q host %q from %s to %s, version %d, headers %q, body %q", q.method, q.target, q.host, q.from, where, q.version, q.fields, q.body)
}

// inquirer makes requests for a configuration, the same for the same seed.
type inquirer struct {
	*rand.Rand
	stage *stage
	n     int
	// open are the ports that the gateway listens on, with the names that TLS may
	// ask for there.
	open []uint16
}

func newInquirer(seed uint64, s *stage, d *dumps) *inquirer {
	g := &inquirer{Rand: rand.New(rand.NewPCG(seed, 1)), stage: s}
	gateway := netip.MustParseAddr(s.gateway.Address)
	for _, port := range []int{s.gateway.HTTPSPort, s.gateway.HTTPPort, s.passthrough} {
		for _, node := range d.At(gateway) {
			if _, ok := d.configs[node.Key()].ListenerAt(netip.AddrPortFrom(gateway, uint16(port))); ok {
				g.open = append(g.open, uint16(port))
			}
		}
	}
	return g
}

func (g *inquirer) chance(percent int) bool { return g.IntN(100) < percent }

func choose[T any](g *inquirer, from []T) T { return from[g.IntN(len(from))] }

// next is the next request.
func (g *inquirer) next() *ask {
	g.n++
	q := &ask{id: strconv.Itoa(g.n), from: netip.MustParseAddr(pick(g.Rand, "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.9.0.7"))}
	switch n := g.IntN(100); {
	case n < 45:
		g.outside(q)
	case n < 82:
		g.inside(q)
	default:
		g.direct(q)
	}
	if q.raw {
		return q
	}
	q.method, q.target = choose(g, methodWords), g.path()
	g.headers(q)
	if g.chance(50) {
		g.token(q)
	}
	g.oddities(q)
	return q
}

// outside is a request to the gateway.
func (g *inquirer) outside(q *ask) {
	hosts := append(slices.Clone(outerHosts), "cart.example.com", "ledger.example.com", "desk.example.com", "other.test")
	q.host = choose(g, hosts)
	// For the one loopback address Envoy forwards the machine's, which nobody knows.
	q.from = netip.MustParseAddr(pick(g.Rand, "127.9.0.7", "127.9.0.7", "127.8.0.1"))
	gateway := g.stage.gateway
	port := pick(g.Rand, gateway.HTTPSPort, gateway.HTTPSPort, gateway.HTTPSPort, gateway.HTTPPort, g.stage.passthrough)
	if !slices.Contains(g.open, uint16(port)) && len(g.open) > 0 && g.chance(95) {
		port = int(choose(g, g.open))
	}
	q.to = netip.AddrPortFrom(netip.MustParseAddr(gateway.Address), uint16(port))
	switch port {
	case gateway.HTTPSPort:
		g.secure(q)
	case gateway.HTTPPort:
	default:
		switch g.IntN(3) {
		case 0:
			q.raw = true
		case 1:
		default:
			g.secure(q)
		}
	}
}

func (g *inquirer) secure(q *ask) {
	name := q.host
	switch g.IntN(20) {
	case 0:
		name = ""
	case 1:
		name = choose(g, outerHosts)
	}
	q.tls = &handshake{name: name, protocols: pick(g.Rand, "", "", "http/1.1", "h2,http/1.1", "istio")}
	switch g.IntN(12) {
	case 0:
		q.tls.certificate = "spiffe://" + choose(g, principals)
	case 1, 2:
		q.tls.certificate = "mutual"
	}
	if q.tls.protocols == "h2,http/1.1" {
		q.version = hcm.HTTP2
	}
}

// inside is a request of a workload through its own proxy.
func (g *inquirer) inside(q *ask) {
	q.through = pick(g.Rand, "visitor", "visitor", "visitor", "ledger", "cart-1", "cart-2")
	from := g.stage.apps[q.through]
	port := pick(g.Rand, 8080, 8080, 8080, 8080, 8080, 8080, 8081, 9001, 9002, 9003)
	q.to = netip.MustParseAddrPort(from.EgressAddress(port))
	if port == 8081 && g.chance(90) {
		q.host = pick(g.Rand, meshHosts[0], meshHosts[0]+":8081", "cart.shop:8081")
		return
	}
	if port > 9000 {
		q.raw = g.chance(80)
		q.host = "cart.shop"
		return
	}
	host := choose(g, append(slices.Clone(meshHosts), "cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local"))
	switch g.IntN(20) {
	case 0, 1:
		host = choose(g, meshShort)
	case 2:
		host = choose(g, []string{"api.partner.test", "db.partner.test", "a.wild.test", "virtual.mesh.test", "localhost.partner.test"})
	}
	if g.chance(70) {
		host = fmt.Sprintf("%s:%d", host, port)
	}
	q.host = host
	if g.chance(3) {
		q.version = hcm.HTTP2
	}
}

// direct is a connection to a workload's proxy that no proxy opened.
func (g *inquirer) direct(q *ask) {
	app := g.stage.apps[pick(g.Rand, "cart-1", "cart-1", "cart-2", "ledger", "visitor")]
	port := "web"
	switch {
	case strings.HasPrefix(app.Name, "cart") && g.chance(40):
		port = pick(g.Rand, "api", "raw")
	case app.Name == "ledger" && g.chance(30):
		port = "raw"
	}
	q.to = netip.MustParseAddrPort(app.PortAddress(port))
	q.raw = port == "raw" && g.chance(80) || g.chance(2)
	q.host = pick(g.Rand, app.Service+"."+app.Namespace+".svc.cluster.local:8080", app.Service, "www.example.com")
	if !g.chance(60) {
		return
	}
	q.tls = &handshake{
		name:      pick(g.Rand, "", "outbound_.8080_._.cart.shop.svc.cluster.local", "www.example.com"),
		protocols: pick(g.Rand, "istio", "istio", "istio", "istio", "istio-peer-exchange,istio", "", "h2", "http/1.1", "istio-http/1.1"),
	}
	if g.chance(85) {
		q.tls.certificate = "spiffe://" + choose(g, principals)
	}
	if q.tls.protocols == "h2" {
		q.version = hcm.HTTP2
	}
}

func (g *inquirer) path() string {
	p := choose(g, pathWords)
	for range pick(g.Rand, 0, 0, 1, 2) {
		p = strings.TrimSuffix(p, "/") + "/" + pick(g.Rand, "a", "b", "c", "x", "a+b", "c.html", "v1:run", "@me")
	}
	if g.chance(30) {
		for range pick(g.Rand, 1, 1, 2) {
			p = twist(g.Rand, p)
		}
	}
	if g.chance(30) {
		p += choose(g, queryWords)
	}
	return p
}

// twist writes a path so that somebody may read it as another one.
func twist(r *rand.Rand, p string) string {
	slash := func(with string) string {
		parts := strings.Split(p, "/")
		if len(parts) < 2 {
			return p
		}
		at := 1 + r.IntN(len(parts)-1)
		return strings.Join(parts[:at], "/") + with + strings.Join(parts[at:], "/")
	}
	encode := func(format string) string {
		at := r.IntN(len(p) + 1)
		if at == len(p) || p[at] == '/' || p[at] == '%' {
			return p
		}
		return p[:at] + fmt.Sprintf(format, p[at]) + p[at+1:]
	}
	other := pick(r, pathWords...)
	switch r.IntN(24) {
	case 0, 1:
		return slash(pick(r, "%2f", "%2F", "%5c", "%5C"))
	case 2:
		return slash("//")
	case 3:
		return slash(pick(r, "/./", "/%2e/", "/.;/"))
	case 4:
		return slash("/x/../")
	case 5:
		return slash(pick(r, "\\", ";x=1/", "/;/"))
	case 6:
		return p + "/.." + other
	case 7:
		return p + "/..%2f.." + other
	case 8:
		return p + "/%2e%2e/%2E%2E" + other
	case 9:
		return p + "/..;/..;" + other
	case 10:
		return p + "/%252e%252e" + other
	case 11:
		return p + pick(r, "%00", "#", ";") + other
	case 12:
		return p + pick(r, "/", "%20", "%", "/%c3%a9", "/%c0%ae", "%zz", "%2")
	case 13:
		return strings.ToUpper(p)
	case 14:
		return strings.TrimPrefix(p, "/")
	case 15:
		return p + "/../../.." + other
	case 16:
		return "/" + p
	case 17:
		return p + "?x=1#y"
	}
	return encode(pick(r, "%%%02x", "%%%02X", "%%25%02x"))
}

func (g *inquirer) headers(q *ask) {
	for range pick(g.Rand, 0, 0, 1, 1, 2, 3) {
		name := choose(g, headerNames)
		value := choose(g, headerWords)
		switch name {
		case "x-forwarded-for":
			value = pick(g.Rand, "203.0.113.9", "198.51.100.7, 10.0.0.1", "10.1.2.3", "unknown", "2001:db8::1", "")
		case "cookie":
			value = pick(g.Rand, "a=b", "session=x; id=y", "")
		case "user-agent", "accept":
			if q.version == hcm.HTTP2 && value == "" {
				continue
			}
		}
		q.fields = append(q.fields, [2]string{name, value})
	}
	if g.chance(8) {
		q.method = "OPTIONS"
		q.fields = append(q.fields, [2]string{"origin", pick(g.Rand, "https://www.example.com", "https://evil.test", "")},
			[2]string{"access-control-request-method", pick(g.Rand, "GET", "PUT", "")})
	}
	if g.chance(3) {
		q.fields = append(q.fields, [2]string{"content-type", pick(g.Rand, "application/grpc", "application/grpc+proto", "application/json")})
	}
	if q.method == "POST" && g.chance(40) {
		q.body = "x=1"
	}
}

// token gives a token, mostly where one is looked for.
func (g *inquirer) token(q *ask) {
	for range pick(g.Rand, 1, 1, 1, 1, 1, 2) {
		names := g.stage.keys.names
		name := choose(g, names)
		if g.chance(65) {
			name = choose(g, names[:5])
		}
		text := g.stage.keys.tokens[name]
		switch n := g.IntN(20); {
		case n < 13:
			q.fields = append(q.fields, [2]string{pick(g.Rand, "authorization", "Authorization"), pick(g.Rand, "Bearer ", "Bearer ", "Bearer ", "Bearer ", "bearer ", "") + text})
		case n < 15:
			q.fields = append(q.fields, [2]string{"x-token", pick(g.Rand, "", "Bearer ", "Token ", "t=") + text})
		case n < 18:
			sign := "?"
			if strings.Contains(q.target, "?") {
				sign = "&"
			}
			q.target += sign + pick(g.Rand, "access_token", "token", "x") + "=" + text
		default:
			q.fields = append(q.fields, [2]string{"cookie", pick(g.Rand, "session=", "id=", "a=b; session=") + text})
		}
	}
}

// oddities are what few clients write.
func (g *inquirer) oddities(q *ask) {
	if g.chance(8) {
		q.host = g.oddHost(q.host)
	}
	if q.version == hcm.HTTP2 {
		// An Envoy waits a second before it ends a connection for what the codec
		// refuses: few of them will do.
		if g.chance(90) {
			q.host = strings.ReplaceAll(cmp.Or(q.host, "other.test"), "@", "")
			if !strings.HasPrefix(q.target, "/") {
				q.target = "/" + q.target
			}
		}
		return
	}
	switch g.IntN(100) {
	case 0, 1:
		q.target = pick(g.Rand, "http://", "https://", "HTTP://") + q.host + q.target
	case 2:
		q.target = pick(g.Rand, "*", "", "//", "/%", "?x", "http://", "a")
	case 3:
		q.method = pick(g.Rand, "get", "BREW", "CONNECT", "G@T", "TRACE")
		q.alone = true
	case 4:
		q.version, q.alone = hcm.HTTP10, true
	case 5:
		q.fields, q.alone = append(q.fields, [2]string{"upgrade", "websocket"}, [2]string{"connection", "upgrade"}), true
	case 6:
		q.fields, q.alone = append(q.fields, [2]string{"host", "second.test"}), true
	case 7:
		q.fields = append(q.fields, [2]string{pick(g.Rand, "x_under", "x-forwarded-proto", "x-forwarded-host", "x-envoy-original-path", "x-forwarded-client-cert", "x-request-id", "te"), pick(g.Rand, "https", "http", "a", "trailers")})
	case 8:
		q.fields, q.alone = append(q.fields, [2]string{"transfer-encoding", pick(g.Rand, "chunked", "gzip", "identity")}), true
		if q.fields[len(q.fields)-1][1] == "chunked" {
			q.body = ""
			q.fields = append(q.fields, [2]string{"x-chunks", ""})
		}
	case 9:
		q.fields = append(q.fields, [2]string{"connection", pick(g.Rand, "close", "keep-alive", "x-user", "x-role, close")})
		q.alone = true
	}
}

func (g *inquirer) oddHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "443"
	}
	return pick(g.Rand, strings.ToUpper(host), name, name+":"+port, name+":80", name+":8443", name+".", name+".:"+port, host+":", "x"+host, name+":443:1",
		"user@"+host, "127.0.0.1", "[::1]:443", "localhost", host+"%2f", "*."+host, "")
}

// question is the request for decide.
func (q *ask) question(s *stage, d *dumps) (*decide.Question, error) {
	out := &decide.Question{To: q.to, From: decide.Source{Address: netip.AddrPortFrom(q.from, 50000)}}
	if q.through != "" {
		nodes := d.At(netip.MustParseAddr(s.apps[q.through].Address))
		if len(nodes) != 1 {
			return nil, fmt.Errorf("%d proxies are at the address of %s", len(nodes), q.through)
		}
		key := nodes[0].Key()
		out.From.Workload = &key
	}
	if q.tls != nil {
		out.TLS = &stream.TLS{ServerName: q.tls.name}
		if q.tls.protocols != "" {
			out.TLS.Offered = strings.Split(q.tls.protocols, ",")
		}
		if q.tls.certificate != "" {
			out.TLS.Peer = q.tls.peer()
		}
	}
	if q.raw {
		return out, nil
	}
	r := &hcm.Request{Version: q.version, Method: q.method, Target: q.target, Body: q.body != "" || slices.Contains(q.fields, [2]string{"x-chunks", ""})}
	fields := q.headerFields()
	if q.version == hcm.HTTP2 {
		r.Authority, r.Scheme = q.host, q.scheme()
	}
	r.Headers = stream.Raw(fields...)
	out.Request = r
	return out, nil
}

func (h *handshake) peer() *stream.Certificate {
	if h.certificate == "mutual" {
		return &stream.Certificate{URIs: []string{"spiffe://partner.test/client"}, Roots: []string{"kubernetes://mutual-cacert"}}
	}
	return &stream.Certificate{URIs: []string{h.certificate}, Roots: []string{listener.MeshRoots}}
}

func (q *ask) scheme() string {
	if q.tls != nil {
		return "https"
	}
	return "http"
}

// headerFields are those that go onto the wire, in order.
func (q *ask) headerFields() []stream.Header {
	var out []stream.Header
	if q.version != hcm.HTTP2 && q.host != "" {
		out = append(out, stream.Header{Name: "host", Value: q.host})
	}
	out = append(out, stream.Header{Name: "x-case", Value: q.id})
	for _, f := range q.fields {
		name := f[0]
		if q.version == hcm.HTTP2 {
			name = strings.ToLower(name)
		}
		out = append(out, stream.Header{Name: name, Value: f[1]})
	}
	if q.body != "" {
		out = append(out, stream.Header{Name: "content-length", Value: strconv.Itoa(len(q.body))})
	}
	return out
}
