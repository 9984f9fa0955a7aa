// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package sighting

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Kind is what stands beside a workload.
type Kind int

// The kinds.
const (
	// Bare is a workload without a proxy.
	Bare Kind = iota
	// Proxied is one with a sidecar.
	Proxied
	// Gateway is a proxy and nothing else: what it takes has nothing to do with the
	// mutual TLS of the mesh.
	Gateway
)

// Workload is a client or a server. It is read only.
type Workload struct {
	// Name is NAMESPACE/NAME, as package mtls names clients.
	Name string
	// Account is its identity, as NAMESPACE/ACCOUNT.
	Account string
	// Services are those that select it, as NAMESPACE/NAME in order; its own name where
	// none does.
	Services []string
	Kind     Kind
}

// Who knows the workloads of a mesh. Nil and empty stand for what it does not know.
type Who interface {
	At(netip.Addr) *Workload
	Pod(accesslog.Writer) *Workload
	// Account is the workload with an identity; of several any, always the same.
	Account(namespaceAndName string) *Workload
	// Service is the name of a host's Service as NAMESPACE/NAME; empty where the mesh has
	// none.
	Service(host string) string
}

// Outcome is what became of an entry.
type Outcome string

// The outcomes.
const (
	// Counted: there is a Sighting.
	Counted Outcome = "counted"
	// Elsewhere: it is about what the entry of another proxy counts, or about nothing
	// between two workloads.
	Elsewhere Outcome = "elsewhere"
	// Aside: it is about a gateway's own clients, or the agent beside a proxy.
	Aside Outcome = "aside"
	// Unreadable: its format does not say how the connection was secured.
	Unreadable Outcome = "unreadable"
	// Unplaced: nobody knows the workload that was called.
	Unplaced Outcome = "unplaced"
)

// Lost reports whether a client may be among such entries that is nowhere else.
func (o Outcome) Lost() bool { return o == Unreadable || o == Unplaced }

// Sighting is one request, or one connection where there is no HTTP.
type Sighting struct {
	Client   string
	Proxied  bool
	Services []string
	Port     uint16
	// Plaintext: it came without mutual TLS and was taken.
	Plaintext bool
	// Cause is why it failed, one that is about mutual TLS, and Why says more; empty: it did
	// not fail for one.
	Cause, Why string
	// At is when it ended by the clock of the proxy that wrote the entry; zero where the
	// entry does not say.
	At time.Time
}

// agent are ports of Istio's agent and of the proxy itself, which probes and scrapes go to
// (https://istio.io/latest/docs/ops/deployment/application-requirements/).
var agent = []uint16{15020, 15021, 15090}

// Of reads one entry. There is a Sighting where it is Counted.
func Of(e *accesslog.Entry, who Who) (Sighting, Outcome) {
	r := reader{e: e, who: who}
	switch {
	case e.Inbound():
		return r.received()
	case signature.SideOf(e) == signature.Server:
		return r.refused()
	}
	return r.sent()
}

// reader reads one entry.
type reader struct {
	e   *accesslog.Entry
	who Who
}

// server is the workload whose proxy wrote an entry about what it received.
func (r reader) server() *Workload {
	// The address may be another pod's by now.
	if w := r.who.Pod(r.e.Writer); w != nil {
		return w
	}
	return r.who.At(r.e.Local.Addr().Unmap())
}

// received is for what the server's proxy took.
func (r reader) received() (Sighting, Outcome) {
	port := r.e.Local.Port()
	if number, err := strconv.ParseUint(strings.Split(r.e.Cluster+"||", "|")[1], 10, 16); port == 0 && err == nil {
		port = uint16(number)
	}
	if slices.Contains(agent, port) {
		return Sighting{}, Aside
	}
	server := r.server()
	switch {
	case server == nil:
		return Sighting{}, Unplaced
	case server.Kind == Gateway:
		return Sighting{}, Aside
	}
	secured, ok := secured(r.e)
	if !ok {
		return Sighting{}, Unreadable
	}
	out := Sighting{Services: server.Services, Port: port, Plaintext: !secured, At: end(r.e)}
	out.Client, out.Proxied = r.client()
	out.Proxied = out.Proxied || secured
	return out, Counted
}

// meshName begins the server names of Istio's own mutual TLS
// (pilot/pkg/model/push_context.go, BuildDNSSrvSubsetKey).
const meshName = "outbound_."

// secured reports whether a connection that a server's proxy took was mutual TLS. Not ok:
// the entry does not say. An application's own TLS is none: it has a server name, and no
// certificate of the client's that the proxy has seen.
func secured(e *accesslog.Entry) (yes, ok bool) {
	switch {
	case e.Peer != "":
		return true, true
	case e.Shows.Peer:
		// Every certificate of Istio's has an identity.
		return false, true
	case e.Shows.TLSVersion && e.TLSVersion == "":
		return false, true
	case strings.HasPrefix(e.ServerName, meshName):
		return true, true
	case e.TLSVersion != "", !e.Shows.ServerName:
		return false, false
	case e.ServerName != "" && e.Method != "":
		// The proxy read HTTP, so that it was the one that ended this TLS.
		return false, false
	}
	return false, true
}

// client is who sent what a server's proxy received.
func (r reader) client() (name string, proxied bool) {
	address := r.remote()
	at := r.who.At(address)
	if account, ok := accountOf(r.e.Peer); ok {
		if at == nil || at.Account != account {
			at = r.who.Account(account)
		}
		if at == nil {
			return account, true
		}
		return at.Name, true
	}
	switch {
	case at != nil:
		return at.Name, at.Kind != Bare
	case address.IsValid():
		return address.String(), false
	}
	return traffic.UnknownClient, false
}

// remote is the address that a connection came from. One without a port is that of a
// header, which anybody may write.
func (r reader) remote() netip.Addr {
	for _, end := range []netip.AddrPort{r.e.Direct, r.e.Remote} {
		if end.Port() != 0 {
			return end.Addr().Unmap()
		}
	}
	return netip.Addr{}
}

// accountOf is NAMESPACE/ACCOUNT of an identity of Istio's.
func accountOf(peer string) (string, bool) {
	for san := range strings.SplitSeq(peer, ",") {
		_, path, ok := strings.Cut(san, "spiffe://")
		_, path, ok2 := strings.Cut(path, "/ns/")
		namespace, account, ok3 := strings.Cut(path, "/sa/")
		if ok && ok2 && ok3 && isName(namespace, 63) && isName(account, 253) {
			return namespace + "/" + account, true
		}
	}
	return "", false
}

// isName reports whether a text can be a name in Kubernetes.
func isName(s string, longest int) bool {
	return s != "" && len(s) <= longest && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// refused is for what a server's proxy did not take.
func (r reader) refused() (Sighting, Outcome) {
	cause := mutual(signature.Lines{Server: r.e})
	server, writer := r.who.At(r.e.Local.Addr().Unmap()), r.who.Pod(r.e.Writer)
	if cause == nil && server != nil && server.Kind == Proxied {
		cause = r.withoutGateway()
	}
	switch {
	case server != nil && server.Kind == Gateway, slices.Contains(agent, r.e.Local.Port()):
		return Sighting{}, Aside
	case cause == nil:
		return Sighting{}, Elsewhere
	case writer != nil && (server == nil || writer.Name != server.Name):
		// A listener for what its own workload sends has the address of the other end.
		return Sighting{}, Elsewhere
	case server == nil:
		return Sighting{}, Unplaced
	}
	out := Sighting{Services: server.Services, Port: r.e.Local.Port(), Cause: string(cause.Cause), Why: cause.Why, At: end(r.e)}
	out.Client, out.Proxied = r.client()
	out.Proxied = out.Proxied || strings.HasPrefix(r.e.ServerName, meshName)
	if out.Proxied && cause.Cause != signature.PlaintextToStrict {
		return Sighting{}, Elsewhere
	}
	return out, Counted
}

// withoutGateway is what a handshake that no filter chain takes means where a sidecar
// wrote the entry: package signature leaves open whether a gateway did.
func (r reader) withoutGateway() *signature.Candidate {
	if r.e.Details != "filter_chain_not_found" && r.e.Termination != "filter_chain_not_found" {
		return nil
	}
	for _, c := range signature.Of(signature.Lines{Server: r.e}) {
		if c.Cause.MutualTLS() {
			return &c
		}
	}
	return nil
}

// sent is for what a client's proxy, or a gateway, sent on.
func (r reader) sent() (Sighting, Outcome) {
	e := r.e
	if len(e.Flags) == 0 && e.TransportFailure == "" && e.DownstreamFailure == "" {
		return Sighting{}, Elsewhere // it arrived
	}
	port, _, host, ok := xds.ParseOutbound(e.Cluster)
	cause := mutual(signature.Lines{Client: e})
	if !ok || cause == nil || cause.Cause == signature.PlaintextToStrict {
		return Sighting{}, Elsewhere
	}
	service, server := r.who.Service(host), r.who.At(e.Upstream.Addr().Unmap())
	out := Sighting{Client: r.sender(), Proxied: true, Services: []string{service}, Port: port, Cause: string(cause.Cause), Why: cause.Why, At: end(e)}
	switch {
	case service == "":
		return Sighting{}, Elsewhere // it is outside of the mesh
	case server != nil && server.Kind != Gateway:
		out.Services, out.Port = server.Services, e.Upstream.Port()
	}
	return out, Counted
}

// sender is the workload whose proxy sent something on.
func (r reader) sender() string {
	if w := r.who.Pod(r.e.Writer); w != nil {
		return w.Name
	}
	if w := r.who.At(r.e.Local.Addr().Unmap()); w != nil && w.Kind == Gateway {
		return w.Name
	}
	for _, address := range []netip.Addr{r.e.UpstreamLocal.Addr().Unmap(), r.remote()} {
		if w := r.who.At(address); w != nil {
			return w.Name
		}
	}
	return traffic.UnknownClient
}

// mutual is the cause of a failure for want of mutual TLS; nil where others are as good.
func mutual(l signature.Lines) *signature.Candidate {
	c := signature.Of(l)[0]
	if c.Certainty == signature.Possible || !c.Cause.MutualTLS() {
		return nil
	}
	return &c
}

// end is when what an entry is about was over.
func end(e *accesslog.Entry) time.Time {
	if e.Start.IsZero() || e.Duration < 0 {
		return e.Start
	}
	return e.Start.Add(e.Duration)
}
