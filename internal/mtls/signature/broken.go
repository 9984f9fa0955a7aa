// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// What a connection looks like that broke before an answer, by what broke it.
var (
	applicationEnded = Candidate{Cause: ApplicationReset, Certainty: Possible, Why: "an application that ends, or closes in place of an answer, looks like that", Needs: serversLine}
	idleEnded        = Candidate{
		Cause: IdleReset, Certainty: Possible, Why: "a server that closes an idle connection just then looks like that",
		Needs: "whether the request came to the server at all, and whether the connection had carried one before: a line with the same upstream local address",
	}
	plaintextRefused = Candidate{Cause: PlaintextToStrict, Certainty: Possible, Why: "a server that takes no plaintext closes at once, which looks like that", Needs: serversChain}
)

// certificateRefused are what a client's proxy sees of its own certificate's being
// refused in TLS 1.3: to it the handshake is over when the server looks at the
// certificate, and the alert comes too late (RFC 8446 §4.4.2.4, appendix E.1).
func certificateRefused() []Candidate {
	const why = "in TLS 1.3 a server refuses the client's certificate after the handshake is over for the client, which looks like that"
	const needs = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% of the server's listener log, or a look at the client's certificate"
	var out []Candidate
	for _, cause := range []Cause{CertificateUntrusted, CertificateExpired, NoCertificate} {
		out = append(out, Candidate{Cause: cause, Certainty: Possible, Why: why, Needs: needs, Holder: Client})
	}
	return out
}

// broken reads a connection that stood and broke before the answer was whole. Envoy
// says no more of it than that: it cannot know what the other end had in mind.
func broken(v view) []Candidate {
	details := v.details()
	switch {
	case strings.HasPrefix(details, "upstream_reset_after_response_started"):
		return brokenAnswer(v)
	case v.flag("UR") && v.carriedRequest():
		return []Candidate{
			{Cause: ApplicationReset, Certainty: Likely, Why: "the other end reset the request and kept the connection (UR)", Needs: serversLine},
			{Cause: ConnectionLost, Certainty: Possible, Why: "a proxy that ends resets requests, too", Needs: serversLine},
		}
	case !v.flag("UC", "UR") && !strings.HasPrefix(details, "upstream_reset_before_response_started"):
		return nil
	}
	application, idle := applicationEnded, idleEnded
	switch {
	case !v.toApplication() && !v.carriedRequest():
		// A connection that carries no HTTP is not used again.
		return append([]Candidate{plaintextRefused, application}, certificateRefused()...)
	case v.toApplication():
		return applicationsEnd(v, application, idle)
	case v.reused:
		idle.Certainty, idle.Why = Likely, "the connection had carried a request before, so that both sides spoke the same then"
		return []Candidate{idle, application}
	case v.wasSlow():
		application.Certainty, application.Why = Likely, "the connection stood for long before it broke: what is refused is closed at once"
		return []Candidate{application, plaintextRefused}
	}
	return append([]Candidate{plaintextRefused, idle, application}, certificateRefused()...)
}

// brokenAnswer is for an answer that had begun: whoever took the request was let in.
func brokenAnswer(v view) []Candidate {
	out := []Candidate{{Cause: ApplicationReset, Certainty: Likely, Why: "the answer had begun, and its end did not come", Needs: serversLine}}
	if v.flag("UPE") {
		out = append(out, Candidate{Cause: AnswerMalformed, Certainty: Possible, Why: "the rest of the answer may be what the proxy could not read", Needs: serversLine})
	}
	return out
}

// applicationsEnd is for the proxy of a server, behind which nobody speaks mutual TLS.
func applicationsEnd(v view, application, idle Candidate) []Candidate {
	application.Needs = "the application's log at this time"
	if v.reused || v.wasSlow() {
		application.Certainty = Likely
	}
	if v.wasSlow() {
		application.Why = "the application had the request for long before it closed the connection"
		return []Candidate{application}
	}
	if v.reused {
		application.Certainty, idle.Certainty = Possible, Likely
	}
	idle.Needs = "whether the request is in the application's log"
	return []Candidate{application, idle}
}

// answered reads a line of what went through, to its end or until now.
func answered(v view) []Candidate {
	kind := accesslog.ParseDetails(v.details()).Kind
	switch {
	case !v.carriedRequest() && v.entry.Code == 0 && len(v.entry.Flags) == 0:
		return bytesPassed(v)
	case kind != accesslog.KindUpstream:
		return nil
	case v.entry.Code < 400 && v.entry.Code > 0:
		return certain(NotAFailure, "what it was sent to answered without an error")
	case v.toApplication():
		return certain(ApplicationError, "the answer is the application's own")
	}
	why := "the answer came from the other end; the server's proxy may have written it for the application"
	if v.flag("URX") {
		why += "; so it was at each try"
	}
	out := []Candidate{{Cause: ApplicationError, Certainty: Likely, Why: why, Needs: serversLine}}
	add := func(c Cause, why string) {
		out = append(out, Candidate{Cause: c, Certainty: Possible, Why: why, Needs: serversLine})
	}
	switch v.entry.Code {
	case 401:
		add(TokenRefused, "the server's proxy answers 401 to a token that is not good")
	case 403:
		add(AuthorizationDenied, "the server's proxy answers 403 to what a policy refuses")
		add(ExternalAuthorization, "the server's proxy answers 403 to what an external authorization service refuses")
	case 429:
		add(RateLimited, "the server's proxy answers 429 when a limit is reached")
	case 503:
		add(ConnectionRefused, "the server's proxy answers 503 when the application does not listen")
		add(ApplicationReset, "the server's proxy answers 503 when the application breaks off")
	case 504:
		add(Timeout, "the server's proxy answers 504 when the application does not answer")
	}
	return out
}

// retried is for lines that say of no try how it ended.
func retried(v view) []Candidate {
	if !v.flag("URX") {
		return nil
	}
	return certain(RetryLimit, "the response flag URX says it, and nothing says how the last try ended")
}

// bytesPassed is for a connection that carried no HTTP and that no flag speaks of.
func bytesPassed(v view) []Candidate {
	if v.toApplication() || v.entry.Sent != 0 || v.entry.Received <= 0 {
		return []Candidate{{Cause: NotAFailure, Certainty: Likely, Why: "the connection carried bytes and no flag says that it failed", Needs: "what client and server make of the bytes"}}
	}
	const why = "the client sent bytes and none came back"
	return []Candidate{
		{Cause: PlaintextToStrict, Certainty: Possible, Why: why, Needs: serversChain},
		{Cause: ApplicationReset, Certainty: Possible, Why: why, Needs: serversLine},
		{Cause: NotAFailure, Certainty: Possible, Why: why + ", which may be all that was to come", Needs: serversLine},
	}
}
