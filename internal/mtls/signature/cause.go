// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

// Cause is what made a request fail.
type Cause string

// The causes that are about mutual TLS.
const (
	// PlaintextToStrict: plaintext came to where TLS only is taken.
	PlaintextToStrict Cause = "PlaintextToStrict"
	// MutualTLSToPlaintext: the client's proxy began TLS, and what it was sent to
	// speaks none.
	MutualTLSToPlaintext Cause = "MutualTLSToPlaintext"
	// CertificateExpired: a certificate's time is over, or has not come.
	CertificateExpired Cause = "CertificateExpired"
	// CertificateUntrusted: a certificate is of an authority that the other side does
	// not trust, was revoked, or is broken.
	CertificateUntrusted Cause = "CertificateUntrusted"
	// NameMismatch: the server's certificate has none of the names (SAN) that the
	// client's proxy was told to accept.
	NameMismatch Cause = "NameMismatch"
	// NoCertificate: one side has no certificate to show.
	NoCertificate Cause = "NoCertificate"
	// HandshakeRefused: the sides found no version, cipher or application protocol in
	// common, or the server ended the handshake without a word.
	HandshakeRefused Cause = "HandshakeRefused"
)

// The causes that are not.
const (
	// ClientTLSToPlaintext: the client itself, not its proxy, began TLS at a port
	// where its peer reads HTTP in plaintext.
	ClientTLSToPlaintext Cause = "ClientTLSToPlaintext"
	// HostNotServed: a gateway serves nothing under the name that the client gave in
	// its handshake.
	HostNotServed Cause = "HostNotServed"
	// IdleReset: the server closed an idle connection in the moment in which the
	// client's proxy used it again.
	IdleReset Cause = "IdleReset"
	// ApplicationReset: the application closed the connection in place of an answer.
	ApplicationReset Cause = "ApplicationReset"
	// ConnectionLost: the connection between two proxies broke under a request that
	// both had.
	ConnectionLost Cause = "ConnectionLost"
	// ApplicationError: the application answered with an error.
	ApplicationError Cause = "ApplicationError"
	// DirectResponse: a proxy answered with an error in the application's place, as
	// its route says.
	DirectResponse Cause = "DirectResponse"
	// ConnectionRefused: nobody listens at the endpoint.
	ConnectionRefused Cause = "ConnectionRefused"
	// Unreachable: the endpoint did not answer to the connecting in time.
	Unreachable Cause = "Unreachable"
	// NoHealthyUpstream: the service has no endpoint that could take it.
	NoHealthyUpstream Cause = "NoHealthyUpstream"
	// NoRoute: the proxy has no route for this host and path.
	NoRoute Cause = "NoRoute"
	// NoCluster: the route leads to a service or subset that the proxy does not know.
	NoCluster Cause = "NoCluster"
	// NameNotResolved: the name of the endpoint was not found in DNS.
	NameNotResolved Cause = "NameNotResolved"
	// Timeout: no answer came in time.
	Timeout Cause = "Timeout"
	// Overflow: a limit of the proxy on connections or requests was reached.
	Overflow Cause = "Overflow"
	// RetryLimit: each of the tries failed.
	RetryLimit Cause = "RetryLimit"
	// RateLimited: there were more requests than are allowed.
	RateLimited Cause = "RateLimited"
	// FaultInjected: a route told the proxy to fail this request.
	FaultInjected Cause = "FaultInjected"
	// AuthorizationDenied: an AuthorizationPolicy refused it.
	AuthorizationDenied Cause = "AuthorizationDenied"
	// TokenRefused: its token is not good.
	TokenRefused Cause = "TokenRefused"
	// ExternalAuthorization: the service that a CUSTOM policy asks refused it, or
	// could not be asked.
	ExternalAuthorization Cause = "ExternalAuthorization"
	// ClientGone: the client did not wait for the answer.
	ClientGone Cause = "ClientGone"
	// ProtocolError: what the client sent is no HTTP that the proxy takes.
	ProtocolError Cause = "ProtocolError"
	// AnswerMalformed: what the application answered is no HTTP.
	AnswerMalformed Cause = "AnswerMalformed"
	// NotAFailure: it went well.
	NotAFailure Cause = "NotAFailure"
	// Unrecognised: the lines do not say.
	Unrecognised Cause = "Unrecognised"
)

// told is what a reader gets to know of a cause.
type told struct {
	mutual     bool
	means, fix string
}

var causes = map[Cause]told{
	PlaintextToStrict: {true, "the client sent plaintext to a port where the server takes TLS only",
		"let the client's side send mutual TLS: give the client a sidecar, and take away or correct the DestinationRule that turns TLS off; or let the server take both with a PeerAuthentication PERMISSIVE until all its clients do"},
	MutualTLSToPlaintext: {true, "the client's proxy began TLS, and the server answered in plaintext",
		"turn TLS off for this server in the DestinationRule that asks for it, or give the server what speaks it: a sidecar, and a PeerAuthentication that does not disable mutual TLS at this port"},
	CertificateExpired: {true, "a certificate is outside of the time for which it is good",
		"see why it was not renewed: whether its proxy reaches istiod, whether the clock of its node is right, and, for a certificate from a Secret, who renews that"},
	CertificateUntrusted: {true, "a certificate is not of an authority that the other side trusts",
		"give both sides the same trust: one root for both meshes, or the other's root among caCertificates or meshConfig.caCertificates; after a change of the root, restart workloads that have not renewed"},
	NameMismatch: {true, "the server's certificate has none of the names that the client's proxy accepts",
		"correct subjectAltNames of the DestinationRule or ServiceEntry, or the service account that the server runs as; see that the address belongs to the workload that was meant"},
	NoCertificate: {true, "one side has no certificate to show",
		"see whether its proxy gets one from istiod; where a credentialName or a file is named, whether the Secret is there, in the right namespace, with the right keys"},
	HandshakeRefused: {true, "client and server agree on no form of TLS",
		"compare what both are told of TLS: versions and ciphers, the server name and the application protocols; see whether the server has a certificate, and a filter chain for this handshake"},
	ClientTLSToPlaintext: {false, "the client itself began TLS at a port that is read as plaintext HTTP",
		"let the client use http:// and leave TLS to its proxy; or declare the port as HTTPS or TLS if the server is to get the client's own"},
	HostNotServed: {false, "the gateway serves nothing under the server name of the handshake",
		"add the host to a server of the Gateway, or let the client ask for one that is there"},
	IdleReset: {false, "the server closed an idle connection just when it was used again",
		"let the client's proxy close idle connections before the server does (connectionPool.http.idleTimeout), or retry on reset-before-request"},
	ApplicationReset: {false, "the application closed the connection in place of an answer",
		"look into the application's log at this time: crash, end by memory, shutdown without draining, or a limit of its own"},
	ConnectionLost: {false, "the connection between the proxies broke under the request",
		"see whether the server's pod ended or was moved at this time, and whether something between the nodes cuts connections"},
	ApplicationError: {false, "the application answered with an error", "look into the application's log"},
	DirectResponse: {false, "a proxy answered with an error in the application's place, as its route says",
		"look at the route that is named; a sidecar whose outbound traffic is REGISTRY_ONLY answers 502 for hosts that the mesh does not know"},
	ConnectionRefused: {false, "nobody listens at the endpoint",
		"see whether the application runs, listens on this port, and on more than the loopback address"},
	Unreachable: {false, "the endpoint did not take the connection in time",
		"see whether the pod still exists, and whether a NetworkPolicy or firewall drops what is sent to it"},
	NoHealthyUpstream: {false, "the service has no endpoint that could take the request",
		"see whether its pods are ready, whether the selector or the labels of the subset find them, and whether outlier detection has put them out"},
	NoRoute: {false, "the proxy has no route for this host and path",
		"add one to the VirtualService or HTTPRoute, or correct host and path of the request"},
	NoCluster: {false, "the route leads to a service or subset that the proxy does not know",
		"correct the destination's host or subset, and see whether a Sidecar object hides it"},
	NameNotResolved: {false, "the name of the endpoint was not found in DNS", "correct the name in the ServiceEntry, or the cluster's DNS"},
	Timeout:         {false, "no answer came in time", "find what the application waits for, or give the route a longer timeout"},
	Overflow: {false, "a limit of the proxy on connections or requests was reached",
		"raise connectionPool of the DestinationRule, or add replicas"},
	RetryLimit:  {false, "each of the tries failed", "find why a single try fails, in the lines of the server's proxy"},
	RateLimited: {false, "there were more requests than are allowed", "let the client send less, or raise the limit"},
	FaultInjected: {false, "a route told the proxy to fail this request",
		"take the fault out of the VirtualService if no test is under way"},
	AuthorizationDenied: {false, "an AuthorizationPolicy refused the request",
		"ask which rule it was and what it demands: trellis explain, with the line"},
	TokenRefused:          {false, "the token of the request is not good", "let the client get a token of an issuer and audience that a RequestAuthentication names, and renew it in time"},
	ExternalAuthorization: {false, "the external authorization service that a CUSTOM policy asks refused it or could not be asked", "look into the log of that service"},
	ClientGone:            {false, "the client did not wait for the answer", "see why the client gave up: a timeout of its own, mostly"},
	ProtocolError: {false, "what the client sent is no HTTP that the proxy takes",
		"see whether the port is declared as the protocol that is spoken there (its name or appProtocol)"},
	AnswerMalformed: {false, "what the application answered is no HTTP",
		"see whether the port is declared as the protocol that is spoken there (its name or appProtocol), HTTP/1.1 or HTTP/2 included"},
	NotAFailure:  {false, "the request went well", "there is nothing to do"},
	Unrecognised: {false, "the lines do not say what went wrong", "bring the line of the other proxy"},
}

// MutualTLS reports whether the cause is about mutual TLS.
func (c Cause) MutualTLS() bool { return causes[c].mutual }

// Means is what happened: a sentence without a period.
func (c Cause) Means() string { return causes[c].means }

// Fix is what to do about it: a sentence without a period.
func (c Cause) Fix() string { return causes[c].fix }
