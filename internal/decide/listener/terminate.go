// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// MeshRoots is what Istio's proxies call the certificates that workloads are
// verified by (security/pkg/nodeagent/cache, ROOTCA).
const MeshRoots = "ROOTCA"

// WorkloadCertificate is what Istio's proxies call the workload's own.
const WorkloadCertificate = "default"

// Session is what is left of a connection after a filter chain's transport
// socket.
type Session struct {
	// Connection as the filters see it: the client's certificate is there only
	// where the proxy asked for one and could verify it.
	Connection *stream.Connection
	// Protocol is the application protocol that was agreed on (ALPN); empty for
	// none.
	Protocol string
	// Failure says why the handshake fails; empty where it succeeds.
	Failure string
	// Unknown says why nobody can tell.
	Unknown string
	// TLS is true where the chain terminates TLS.
	TLS bool
}

// Socket is a filter chain's transport socket, compiled. It is read only.
type Socket struct {
	// context is nil for plaintext.
	context *tlsv3.DownstreamTlsContext
	// roots are those that clients are verified by, and accepted their names; asked:
	// they are asked for a certificate.
	roots    string
	accepted Accepted
	asked    bool
	unknown  string
}

// ReadSocket compiles the transport socket of a filter chain.
func ReadSocket(chain *listenerv3.FilterChain) Socket {
	socket := chain.GetTransportSocket()
	if socket == nil || socket.GetTypedConfig() == nil || socket.GetTypedConfig().GetTypeUrl() == rawBufferType {
		return Socket{}
	}
	context := &tlsv3.DownstreamTlsContext{}
	if !socket.GetTypedConfig().MessageIs(context) {
		return Socket{unknown: "transport socket " + socket.GetName() + " is not one that is known here"}
	}
	if err := proto.Unmarshal(socket.GetTypedConfig().GetValue(), context); err != nil {
		return Socket{unknown: "the TLS settings of filter chain " + chain.GetName() + " cannot be read: " + err.Error()}
	}
	roots, verification := Roots(context.GetCommonTlsContext())
	return Socket{
		context: context, roots: roots, accepted: NewAccepted(verification),
		asked: verification != nil || roots != "" || context.GetRequireClientCertificate().GetValue(),
	}
}

// Terminate does what a filter chain's transport socket does with a connection. One
// that speaks plaintext leaves a TLS handshake to its filters, as bytes: they see
// neither it nor the client's certificate.
func (s Socket) Terminate(connection *stream.Connection) Session {
	own := *connection
	out := Session{Connection: &own, Unknown: s.unknown}
	switch {
	case s.unknown != "":
		return out
	case s.context == nil:
		own.TLS = nil
		return out
	}
	out.TLS = true
	if own.TLS == nil {
		out.Failure = "the filter chain speaks TLS only, and plaintext came"
		return out
	}
	return s.handshake(out)
}

const rawBufferType = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"

func (s Socket) handshake(out Session) Session {
	settled := *out.Connection.TLS
	out.Connection.TLS = &settled
	for _, protocol := range s.context.GetCommonTlsContext().GetAlpnProtocols() {
		if slices.Contains(settled.Offered, protocol) {
			out.Protocol = protocol
			break
		}
	}
	switch {
	case !s.asked:
		settled.Peer = nil
	case settled.Peer == nil:
		if s.context.GetRequireClientCertificate().GetValue() {
			out.Failure = "the server asks for a client certificate, and none came"
		}
	case len(settled.Peer.Roots) > 0 && !slices.Contains(settled.Peer.Roots, s.roots):
		out.Failure = "the client's certificate is of another authority than " + named(s.roots)
	case len(settled.Peer.Roots) == 0 && s.roots != MeshRoots:
		out.Unknown = "the client's certificate is verified against " + named(s.roots) + ", which is not the mesh's"
	default:
		verified := s.accepted.Verify(settled.Peer)
		switch verified.Truth {
		case match.False:
			out.Failure = "the client's certificate has none of the names that the server accepts"
		case match.Unknown:
			out.Unknown = verified.Why
		case match.True:
		}
	}
	return out
}

func named(roots string) string {
	if roots == "" {
		return "certificates of the configuration"
	}
	return roots
}

// Roots is the name of the secret that a certificate of the other side is verified
// by, and the other settings of that; both empty where nothing is verified.
func Roots(common *tlsv3.CommonTlsContext) (roots string, settings *tlsv3.CertificateValidationContext) {
	switch v := common.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		return "", v.ValidationContext
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return v.ValidationContextSdsSecretConfig.GetName(), &tlsv3.CertificateValidationContext{}
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		settings = v.CombinedValidationContext.GetDefaultValidationContext()
		if settings == nil {
			settings = &tlsv3.CertificateValidationContext{}
		}
		return v.CombinedValidationContext.GetValidationContextSdsSecretConfig().GetName(), settings
	}
	return "", nil
}

// Accepted are the names that a certificate must have one of, compiled; none accept
// all.
type Accepted struct {
	names []acceptedName
	why   string // it cannot be told
}

type acceptedName struct {
	kind tlsv3.SubjectAltNameMatcher_SanType
	text *match.Text
}

// NewAccepted compiles the names of settings.
func NewAccepted(settings *tlsv3.CertificateValidationContext) Accepted {
	var out Accepted
	for _, m := range settings.GetMatchTypedSubjectAltNames() {
		text, err := match.NewText(m.GetMatcher())
		if err != nil {
			return Accepted{why: err.Error()}
		}
		out.names = append(out.names, acceptedName{m.GetSanType(), text})
	}
	// The older form knows no types.
	for _, m := range settings.GetMatchSubjectAltNames() { //nolint:staticcheck // Istio still writes it
		text, err := match.NewText(m)
		if err != nil {
			return Accepted{why: err.Error()}
		}
		out.names = append(out.names, acceptedName{tlsv3.SubjectAltNameMatcher_SAN_TYPE_UNSPECIFIED, text})
	}
	return out
}

// All reports whether any name will do.
func (a Accepted) All() bool { return a.why == "" && len(a.names) == 0 }

// Verify compares the names of a certificate whose chain is good.
func (a Accepted) Verify(certificate *stream.Certificate) match.Answer {
	switch {
	case a.why != "":
		return match.Cannot(a.why)
	case a.All():
		return match.Yes
	}
	return match.Or(a.names, func(a acceptedName) match.Answer {
		out := match.No
		if a.kind != tlsv3.SubjectAltNameMatcher_DNS {
			out = match.Or(certificate.URIs, a.text.Match)
		}
		if out.Truth != match.True && a.kind != tlsv3.SubjectAltNameMatcher_URI {
			if other := match.Or(certificate.DNSNames, a.text.Match); other.Truth > out.Truth {
				out = other
			}
		}
		return out
	})
}
