// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Request is one request in people's words.
type Request struct {
	// From is a workload of the mesh; nil is the internet.
	From *WorkloadRef
	// Address is the client's, for a request from the internet; invalid: one of
	// nobody.
	Address netip.Addr
	// Method of HTTP; empty is GET.
	Method string
	// URL is what is asked for: scheme http, https or tcp, host, port and path.
	URL *url.URL
	// Target replaces path and query of the URL as they are sent, for those that
	// no URL can have.
	Target  string
	Headers []stream.Header
	// Bearer is a real token; Claims are those of one that exists in the question
	// only. At most one of them.
	Bearer string
	Claims *structpb.Struct
	// HTTP2 is spoken; without it HTTP/1.1.
	HTTP2 bool
	// Authorizers as in decide.Question.
	Authorizers map[string]bool
}

// Answer is what becomes of a Request.
type Answer struct {
	decide.Verdict
	// Entrance is the Service of the gateway that it came in by; nil where it came
	// from inside.
	Entrance *directory.Service
	// Because are the statements behind the steps that decided, the last one
	// first, without repetition.
	Because []Origin
}

// offered are the protocols of a client that speaks HTTP/2; others offer the last.
var offered = []string{"h2", "http/1.1"}

// Can decides one request. An error is about the question: a workload or host that
// nobody knows, a scheme that is none.
func (w *World) Can(r *Request) (*Answer, error) {
	q, err := w.question(r)
	if err != nil {
		return nil, err
	}
	if r.From != nil {
		return w.fromInside(r, q)
	}
	return w.fromOutside(r, q)
}

func (w *World) question(r *Request) (*decide.Question, error) {
	if r.URL == nil || r.URL.Hostname() == "" {
		return nil, fmt.Errorf("reading the request: it has no host; write a URL such as https://shop.example.com/cart")
	}
	if strings.ContainsFunc(r.URL.Hostname(), func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, fmt.Errorf("reading the request: the host %q has letters that are not sent; write it as DNS has it, such as xn--bcher-kva.example", r.URL.Hostname())
	}
	q := &decide.Question{At: w.At, Authorizers: r.Authorizers}
	switch r.URL.Scheme {
	case "tcp":
	case "https", "http":
		q.Request = w.message(r)
	default:
		return nil, fmt.Errorf("reading the request: scheme %q is none of https, http and tcp", r.URL.Scheme)
	}
	if r.URL.Scheme == "https" {
		q.TLS = &stream.TLS{ServerName: r.URL.Hostname(), Offered: offered[1:]}
		if r.HTTP2 {
			q.TLS.Offered = offered
		}
		if _, err := netip.ParseAddr(r.URL.Hostname()); err == nil {
			// A name that is an address is not sent (RFC 6066 §3).
			q.TLS.ServerName = ""
		}
	}
	if r.Claims != nil {
		q.Tokens = map[string]*stream.Token{witness.AnyToken: {Claims: r.Claims}}
	}
	return q, nil
}

// message is the request as a client sends it.
func (w *World) message(r *Request) *hcm.Request {
	out := &hcm.Request{Method: r.Method, Target: r.Target}
	if out.Method == "" {
		out.Method = "GET"
	}
	if out.Target == "" {
		out.Target = r.URL.RequestURI()
	}
	authority := r.URL.Host
	if port := r.URL.Port(); port == defaultPort(r.URL.Scheme) {
		authority = strings.TrimSuffix(authority, ":"+port)
	}
	// As with curl, a host among the headers takes the place of the URL's.
	at := slices.IndexFunc(r.Headers, func(h stream.Header) bool { return strings.EqualFold(h.Name, "host") })
	if at >= 0 {
		authority = r.Headers[at].Value
	}
	fields := make([]stream.Header, 0, len(r.Headers)+2)
	if r.HTTP2 {
		out.Version, out.Authority, out.Scheme = hcm.HTTP2, authority, r.URL.Scheme
	} else {
		fields = append(fields, stream.Header{Name: "host", Value: authority})
	}
	for i, h := range r.Headers {
		if i != at {
			fields = append(fields, h)
		}
	}
	switch {
	case r.Bearer != "":
		fields = append(fields, stream.Header{Name: "authorization", Value: "Bearer " + r.Bearer})
	case r.Claims != nil:
		fields = append(fields, stream.Header{Name: "authorization", Value: "Bearer " + witness.AnyToken})
	}
	out.Headers = stream.Raw(fields...)
	return out
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		text = defaultPort(u.Scheme)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("reading the request: %q is no port; write it after the host, such as tcp://db.shop:5432", text)
	}
	return uint16(port), nil
}

// fromInside asks the client's own proxy.
func (w *World) fromInside(r *Request, q *decide.Question) (*Answer, error) {
	node, err := w.Workload(*r.From)
	if err != nil {
		return nil, err
	}
	key := node.Key()
	q.From.Workload = &key
	port, err := portOf(r.URL)
	if err != nil {
		return nil, err
	}
	q.To, err = w.destination(node, r.URL.Hostname(), port)
	if err != nil {
		return nil, err
	}
	q.To = w.delivered(node, q.To)
	return w.answer(w.Origins.KeptIn(node, w.followed(w.Evaluator.Decide(q))), nil), nil
}

// destination is where a workload connects to for a host and port.
func (w *World) destination(node xds.Node, host string, port uint16) (netip.AddrPort, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(address, port), nil
	}
	s := w.Directory.Find(host, node.Namespace)
	if s == nil {
		if w.Directory.Local(host) {
			return netip.AddrPort{}, fmt.Errorf("no Service is named %s for a client in namespace %s", host, node.Namespace)
		}
		return netip.AddrPortFrom(Elsewhere, port), nil
	}
	if _, ok := s.Port(port); !ok {
		var ports []string
		for _, p := range s.Ports {
			ports = append(ports, strconv.Itoa(int(p.Number)))
		}
		return netip.AddrPort{}, fmt.Errorf("%s has no port %d; its ports are %s", s.Host, port, strings.Join(ports, ", "))
	}
	switch {
	case len(s.Addresses) > 0:
		return netip.AddrPortFrom(s.Addresses[0], port), nil
	case len(s.Endpoints) > 0:
		return netip.AddrPortFrom(s.Endpoints[0], port), nil
	}
	return netip.AddrPortFrom(Elsewhere, port), nil
}

// delivered is where a connection ends that no proxy of the client's takes: the
// node's own network gives one to a virtual address to an endpoint.
func (w *World) delivered(node xds.Node, to netip.AddrPort) netip.AddrPort {
	config, err := w.Proxies.Config(node)
	if err != nil {
		return to
	}
	captured, _ := node.Outbound(to)
	if _, taken := config.Outbound(to); taken && captured != xds.Past {
		return to
	}
	if l, ok := config.ListenerAt(to); ok && captured != xds.Past && xds.Binds(l) {
		return to
	}
	for _, s := range w.Directory.Services() {
		if !slices.Contains(s.Addresses, to.Addr()) || len(s.Endpoints) == 0 {
			continue
		}
		if p, ok := s.Port(to.Port()); ok {
			at := slices.IndexFunc(s.Endpoints, func(a netip.Addr) bool { return s.TargetAt(p, a) != 0 })
			if at >= 0 {
				return netip.AddrPortFrom(s.Endpoints[at], s.TargetAt(p, s.Endpoints[at]))
			}
		}
	}
	return to
}

// fromOutside asks every gateway that has the port. Which one DNS gives to a client
// is not known here: where they differ, the one that lets it pass is told, since who
// asks wants to know whether anybody can. Of those that refuse it is the first that
// knows the host.
func (w *World) fromOutside(r *Request, q *decide.Question) (*Answer, error) {
	port, err := portOf(r.URL)
	if err != nil {
		return nil, err
	}
	q.From.Address = outside
	if r.Address.IsValid() {
		q.From.Address = netip.AddrPortFrom(r.Address, outside.Port())
	}
	ways := w.entrances(port)
	if len(ways) == 0 {
		return nil, fmt.Errorf("no gateway has port %d: no Service with that port is in front of a gateway proxy", port)
	}
	var best decide.Verdict
	var by entrance
	for i, way := range ways {
		q.To = way.to
		v := w.followed(w.Evaluator.Decide(q))
		if i == 0 || w.openness(v, way, r.URL.Hostname()) > w.openness(best, by, r.URL.Hostname()) {
			best, by = v, way
		}
	}
	return w.answer(best, by.service), nil
}

// openness orders what gateways say of a request: the larger, the more it matters.
func (w *World) openness(v decide.Verdict, way entrance, host string) int {
	switch v.Outcome {
	case decide.Allow:
		return 4
	case decide.Unknown:
		return 3
	case decide.Answered:
		return 2
	case decide.Deny, decide.Fails, decide.NoRoute:
	}
	if w.knows(way, host) {
		return 1
	}
	return 0
}

// knows reports whether a gateway has routes for a host by its name.
func (w *World) knows(way entrance, host string) bool {
	for _, node := range w.Proxies.At(way.to.Addr()) {
		config, err := w.Proxies.Config(node)
		if err != nil {
			continue
		}
		if l, ok := config.Inbound(way.to); ok && config.Serves(l, host) {
			return true
		}
	}
	return false
}

// answer joins a verdict with the statements behind it.
func (w *World) answer(v decide.Verdict, entrance *directory.Service) *Answer {
	out := &Answer{Verdict: v, Entrance: entrance}
	for _, step := range slices.Backward(v.Steps) {
		if origin := w.Origins.Of(step); origin != nil && !slices.Contains(out.Because, *origin) {
			out.Because = append(out.Because, *origin)
		}
	}
	return out
}
