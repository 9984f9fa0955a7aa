// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Security is how a connection to an endpoint is secured.
type Security struct {
	// TLS is nil for plaintext.
	TLS *tlsv3.UpstreamTlsContext
	// Match is the name of the transport socket match that was chosen; empty for
	// the cluster's own socket.
	Match string
	// Unknown says why nobody can tell.
	Unknown string
}

// SecurityTo is how a cluster talks to an endpoint.
func SecurityTo(c *clusterv3.Cluster, metadata *structpb.Struct) Security {
	socket, out := SocketTo(c, metadata)
	if out.Unknown != "" {
		return out
	}
	name := out.Match
	out = ReadSocket(c, socket)
	out.Match = name
	return out
}

// SocketTo is the transport socket by which a cluster talks to an endpoint: that of the
// first match whose values the endpoint's metadata have, else the cluster's own; nil
// is plaintext. Of the security Match and Unknown are there.
func SocketTo(c *clusterv3.Cluster, metadata *structpb.Struct) (*corev3.TransportSocket, Security) {
	if c.GetTransportSocketMatcher() != nil {
		return nil, Security{Unknown: "cluster " + c.GetName() + " chooses its transport socket by a matcher tree"}
	}
	for _, m := range c.GetTransportSocketMatches() {
		if within(m.GetMatch(), metadata) {
			return m.GetTransportSocket(), Security{Match: m.GetName()}
		}
	}
	return c.GetTransportSocket(), Security{}
}

// within reports whether all values wanted are there.
func within(wanted, there *structpb.Struct) bool {
	for k, v := range wanted.GetFields() {
		if !proto.Equal(v, there.GetFields()[k]) {
			return false
		}
	}
	return true
}

// ReadSocket is what a transport socket of a cluster makes of connections.
func ReadSocket(c *clusterv3.Cluster, socket *corev3.TransportSocket) Security {
	config := socket.GetTypedConfig()
	if config == nil {
		return Security{}
	}
	context := &tlsv3.UpstreamTlsContext{}
	switch {
	case strings.HasSuffix(config.GetTypeUrl(), ".raw_buffer.v3.RawBuffer"):
		return Security{}
	case config.MessageIs(context):
		if err := proto.Unmarshal(config.GetValue(), context); err != nil {
			return Security{Unknown: fmt.Sprintf("the TLS settings of cluster %s cannot be read: %v", c.GetName(), err)}
		}
		return Security{TLS: context}
	}
	return Security{Unknown: "cluster " + c.GetName() + " has the transport socket " + socket.GetName() + ", which is not one that is known here"}
}

// Tunnels reports whether a cluster sends an endpoint by HBONE what it would send in
// plaintext (pilot/pkg/networking/core/cluster_tls.go, hboneTransportSocket).
func Tunnels(c *clusterv3.Cluster, metadata *structpb.Struct) bool {
	socket, _ := SocketTo(c, metadata)
	tunnel := &internalv3.InternalUpstreamTransport{}
	if config := socket.GetTypedConfig(); !config.MessageIs(tunnel) || config.UnmarshalTo(tunnel) != nil {
		return false
	}
	inner := ReadSocket(c, tunnel.GetTransportSocket())
	return inner.TLS == nil && inner.Unknown == ""
}

// Protocol is which HTTP a cluster speaks to its endpoints.
type Protocol int8

// The protocols.
const (
	HTTP1 Protocol = iota
	HTTP2
	HTTP3
	// Same is the one that the client spoke.
	Same
	// Negotiated is what TLS settles on, HTTP/1.1 where it settles on nothing.
	Negotiated
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// ProtocolOf reads a cluster's options. Without any it is HTTP/1.1.
func ProtocolOf(c *clusterv3.Cluster) (Protocol, error) {
	config := c.GetTypedExtensionProtocolOptions()[httpOptions]
	if config == nil {
		if c.GetHttp2ProtocolOptions() != nil { //nolint:staticcheck // the older form still works
			return HTTP2, nil
		}
		return HTTP1, nil
	}
	options := &upstreamhttpv3.HttpProtocolOptions{}
	if err := config.UnmarshalTo(options); err != nil {
		return HTTP1, fmt.Errorf("reading the HTTP options of cluster %s: %w", c.GetName(), err)
	}
	switch {
	case options.GetUseDownstreamProtocolConfig() != nil:
		return Same, nil
	case options.GetAutoConfig() != nil:
		return Negotiated, nil
	case options.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil:
		return HTTP2, nil
	case options.GetExplicitHttpConfig().GetHttp3ProtocolOptions() != nil:
		return HTTP3, nil
	}
	return HTTP1, nil
}
