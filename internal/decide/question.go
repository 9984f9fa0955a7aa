// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"net/netip"
	"time"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Question is one request, or one TCP connection, and who sends it.
type Question struct {
	From Source
	// To is the address that the client connects to: of a Service, a gateway or a
	// workload.
	To netip.AddrPort
	// TLS is what the client itself offers; nil: it speaks plaintext, whatever its
	// proxy makes of it.
	TLS *stream.TLS
	// Request is what it sends; nil: bytes that are no HTTP.
	Request *hcm.Request
	// Tokens are the meaning of tokens in the request that are not real ones (see
	// stream.Stream).
	Tokens map[string]*stream.Token
	// At is the moment of the request: tokens expire.
	At time.Time
	// Authorizers are the answers of external authorization services (action
	// CUSTOM), by the name of the cluster that Envoy asks. A service that is not
	// among them makes the verdict Unknown.
	Authorizers map[string]bool
}

// Source is who sends a request.
type Source struct {
	// Workload is the proxy beside the client; nil: there is none, or the client
	// is outside of the mesh.
	Workload *xds.Key
	// Address is where the connection comes from. With a Workload that has an
	// address it may be left out.
	Address netip.AddrPort
}

// Proxies are the proxies of a mesh at one moment.
type Proxies interface {
	// At are the proxies of the workloads at an address.
	At(address netip.Addr) []xds.Node
	// Node finds a proxy by its key.
	Node(key xds.Key) (xds.Node, bool)
	// Config is what a proxy was sent. An error makes verdicts Unknown.
	Config(node xds.Node) (*xds.Config, error)
}
