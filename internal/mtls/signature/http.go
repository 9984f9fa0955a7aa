// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

const (
	serversTLS   = "the line of the server's proxy: NR filter_chain_not_found, or its %DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
	speaksTLS    = "the check of what both sides were sent: whether the server speaks TLS at this port"
	clientsLine  = "the line of the client's proxy for this request"
	serversLine  = "the line of the server's proxy for this request"
	serversChain = "the listener log of the server's proxy at this time, where NR filter_chain_not_found means plaintext that it does not take; or the check of what both sides were sent"
)

func certain(c Cause, why string) []Candidate {
	return []Candidate{{Cause: c, Certainty: Certain, Why: why}}
}

// refused reads what a proxy refuses by a policy, and what is no request to it.
func refused(v view) []Candidate {
	d := accesslog.ParseDetails(v.details())
	switch d.Kind {
	case accesslog.KindRBAC:
		out := certain(AuthorizationDenied, d.Means)
		out[0].Policy = d.Policy
		return out
	case accesslog.KindToken:
		return certain(TokenRefused, d.Means)
	case accesslog.KindAuthorizer:
		return certain(ExternalAuthorization, d.Means)
	case accesslog.KindDirect:
		if v.entry.Code < 400 {
			return certain(NotAFailure, d.Means)
		}
		return certain(DirectResponse, d.Means)
	}
	switch {
	case v.flag("UAEX"):
		return certain(ExternalAuthorization, "the response flag UAEX says it")
	case v.flag("RL", "RLSE"), strings.HasSuffix(v.details(), "rate_limited"):
		return certain(RateLimited, "a limit on the rate of requests was reached, or could not be asked for")
	case v.flag("FI"), v.details() == "fault_filter_abort":
		return certain(FaultInjected, "the fault filter ended it")
	}
	return nil
}

// noChain reads a connection that no filter chain took.
func noChain(v view) []Candidate {
	if v.details() != "filter_chain_not_found" {
		return nil
	}
	name := v.entry.ServerName
	switch {
	case v.side == Client && name != "":
		return certain(HostNotServed, fmt.Sprintf("a handshake for %s came, and the gateway has no filter chain for it", name))
	case v.side == Client:
		const why = "a connection without a server name came, and the gateway has no filter chain for it"
		return []Candidate{
			{Cause: ProtocolError, Certainty: Possible, Why: why + ": plaintext at a port for TLS looks like that", Needs: "whether the client asked for http://"},
			{Cause: HostNotServed, Certainty: Possible, Why: why + ": so does a handshake that names no server", Needs: "whether the client sends a server name"},
		}
	case strings.HasPrefix(name, "outbound_."):
		return []Candidate{
			{Cause: HandshakeRefused, Certainty: Likely, Why: "a handshake of the mesh came, and the server's proxy has no filter chain for it", Needs: "the check of what both sides were sent: application protocols and server names"},
			{Cause: HostNotServed, Certainty: Possible, Why: "an east-west gateway ends handshakes for services that it does not know so", Needs: "whether a gateway wrote the line"},
		}
	case name != "":
		return []Candidate{
			{Cause: HostNotServed, Certainty: Likely, Why: fmt.Sprintf("a handshake for %s came, and the proxy has no filter chain for it", name), Needs: "whether a gateway wrote the line"},
			{Cause: HandshakeRefused, Certainty: Possible, Why: fmt.Sprintf("a handshake for %s came, and the proxy has no filter chain for it", name), Needs: "the check of what both sides were sent"},
		}
	}
	const why = "a connection without a server name came, and the proxy has no filter chain for it"
	return []Candidate{
		{Cause: PlaintextToStrict, Certainty: Likely, Why: why, Needs: "the line of the client's proxy, which ends with UC; or %DOWNSTREAM_TRANSPORT_FAILURE_REASON%, which then says HTTP_REQUEST"},
		{Cause: HostNotServed, Certainty: Possible, Why: why, Needs: "whether a gateway wrote the line, and got a handshake without a server name"},
	}
}

// malformed reads what a proxy could not take for HTTP, as request or as answer.
func malformed(v view) []Candidate {
	d := accesslog.ParseDetails(v.details())
	switch {
	case strings.HasPrefix(v.details(), "upstream_reset_after_response_started"):
		return nil
	case v.flag("UPE"), strings.HasSuffix(v.details(), "{protocol_error}"):
		return certain(AnswerMalformed, "the proxy could not read the answer")
	case d.Kind == accesslog.KindRequest && v.details() != "http1.codec_error":
		return certain(ProtocolError, d.Means)
	case !v.flag("DPE") && v.details() != "http1.codec_error":
		return nil
	case v.carriedRequest() || v.entry.ServerName != "" || v.entry.TLSVersion != "" || v.entry.Peer != "" || strings.HasPrefix(v.details(), "http2."):
		return certain(ProtocolError, "the proxy could not read the request, which did not begin as a handshake")
	}
	const why = "in place of a request came what is none: a handshake of TLS looks like that"
	client := Candidate{Cause: ClientTLSToPlaintext, Certainty: Possible, Why: why, Needs: "whether the client asked for https://"}
	other := Candidate{Cause: ProtocolError, Certainty: Possible, Why: why, Needs: "what the client sent"}
	if v.side == Client {
		client.Certainty = Likely
		return []Candidate{client, other}
	}
	return []Candidate{
		{Cause: MutualTLSToPlaintext, Certainty: Possible, Why: why, Needs: "the line of the client's proxy, which then ends with UF and WRONG_VERSION_NUMBER"},
		client, other,
	}
}

// unconnected reads why there is no connection upstream, TLS aside.
func unconnected(v view) []Candidate {
	reason, braces := normal(v.upstreamFailure()), accesslog.ParseDetails(v.details()).Reason
	switch {
	case strings.Contains(reason, "connection_refused"):
		return certain(ConnectionRefused, "the endpoint refused the connection")
	case strings.Contains(reason, "unreachable"), strings.Contains(reason, "no_route_to_host"):
		return certain(Unreachable, "the network has no way to the endpoint")
	case !v.flag("UF") && !strings.Contains(braces, "connection failure") && !strings.Contains(braces, "connection timeout"):
		return nil
	}
	if strings.Contains(braces, "connection timeout") || strings.Contains(reason, "timed_out") {
		return unanswered(v)
	}
	const why = "the connection failed, and the line does not say why"
	out := []Candidate{
		{Cause: ConnectionRefused, Certainty: Possible, Why: why, Needs: "whether the application listens"},
		{Cause: Unreachable, Certainty: Possible, Why: why, Needs: "whether the endpoint still is that of a pod"},
	}
	if v.toApplication() {
		return out
	}
	// Where connecting itself fails, Envoy says how. What is left is a handshake that
	// the other end ended in order.
	return append([]Candidate{
		{Cause: HandshakeRefused, Certainty: Possible, Why: why + ": a server that closes in the middle of a handshake looks like that", Needs: serversTLS},
		{Cause: MutualTLSToPlaintext, Certainty: Possible, Why: why + ": an application that closes at a handshake looks like that", Needs: speaksTLS},
	}, out...)
}

// unanswered is for a connection that did not stand in time, which to Envoy is when
// its handshake is over.
func unanswered(v view) []Candidate {
	out := []Candidate{{Cause: Unreachable, Certainty: Likely, Why: "the connection did not stand in time", Needs: "whether the endpoint still is that of a pod, and takes connections from elsewhere"}}
	if !v.toApplication() {
		out = append(out, Candidate{
			Cause: MutualTLSToPlaintext, Certainty: Possible, Needs: speaksTLS,
			Why: "a handshake that is never answered looks like that, too: an application without a proxy waits for the rest of what it takes for a request",
		})
	}
	return out
}

// flags that say it all, in the order in which they are looked for: Envoy sets
// several, and those of a try go before those that count tries.
var settled = []struct {
	flag  string
	cause Cause
	why   string
}{
	{"UH", NoHealthyUpstream, "the response flag UH says it"},
	{"LH", NoHealthyUpstream, "the proxy itself fails its health check (LH)"},
	{"NC", NoCluster, "the response flag NC says it"},
	{"NR", NoRoute, "the response flag NR says it"},
	{"DF", NameNotResolved, "the response flag DF says it"},
	{"UO", Overflow, "the response flag UO says it"},
	{"OM", Overflow, "the proxy has too little memory or too many connections (OM)"},
	{"DO", Overflow, "the control plane told the proxy to drop a share of the requests (DO)"},
	{"UDO", Overflow, "the control plane told the proxy to drop all requests (UDO)"},
	{"UT", Timeout, "the response flag UT says it"},
	{"SI", Timeout, "nothing passed for too long (SI)"},
	{"DT", Timeout, "the connection or request reached its longest duration (DT)"},
	{"UMSDR", Timeout, "the request reached its longest duration (UMSDR)"},
	{"DC", ClientGone, "the response flag DC says it"},
	{"DR", ClientGone, "the client reset the request (DR)"},
}

// byDetails are the same for lines without flags.
var byDetails = map[string]Cause{
	"no_healthy_upstream": NoHealthyUpstream, "cluster_not_found": NoCluster, "route_not_found": NoRoute, "route_configuration_not_found": NoRoute,
	"response_timeout": Timeout, "upstream_response_timeout": Timeout, "upstream_per_try_timeout": Timeout, "upstream_per_try_idle_timeout": Timeout,
	"stream_idle_timeout": Timeout, "max_duration_timeout": Timeout, "request_overall_timeout": Timeout, "duration_timeout": Timeout,
	"upstream_max_stream_duration_reached": Timeout, "overload": Overflow, "drop_overload": Overflow, "maintenance_mode": Overflow,
	"downstream_remote_disconnect": ClientGone, "dns_resolution_failure": NameNotResolved,
}

func flagged(v view) []Candidate {
	if v.flag("DC", "DR") && v.side == Server {
		return []Candidate{
			{Cause: ClientGone, Certainty: Likely, Why: "the connection of the request ended before the answer", Needs: clientsLine},
			{Cause: Timeout, Certainty: Possible, Why: "the client's proxy ends requests that take longer than its route says", Needs: clientsLine},
		}
	}
	for _, s := range settled {
		if v.flag(s.flag) {
			return certain(s.cause, s.why)
		}
	}
	name, _, _ := strings.Cut(v.details(), "{")
	if cause, ok := byDetails[name]; ok {
		return certain(cause, "the details "+name+" say it")
	}
	return nil
}
