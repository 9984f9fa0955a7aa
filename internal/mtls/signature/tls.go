// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"regexp"
	"strings"
)

// failure is a text of TLS and what it is the sign of.
type failure struct {
	text  string
	cause Cause
	sure  Certainty
	// whose is whose certificate it is about, seen from who wrote it.
	whose whose
	why   string
}

type whose int

const (
	nobodys whose = iota
	own
	others
)

// verified are what a proxy says of the certificate that it was shown: texts of
// BoringSSL's X509_verify_cert_error_string, and of Envoy's own checks
// (source/common/tls/cert_validator/default_validator.cc).
var verified = []failure{
	{"san_matcher", NameMismatch, Certain, others, "the proxy checked the names of the certificate and took none of them"},
	{"verify_san_list", NameMismatch, Certain, others, "the proxy checked the names of the certificate and took none of them"},
	{"san_peer_identity", NameMismatch, Certain, others, "the proxy checked the identity of the certificate and did not take it"},
	{"san_match", NameMismatch, Certain, others, "the proxy checked the names of the certificate and took none of them"},
	{"has_expired", CertificateExpired, Certain, others, "the proxy checked the certificate: its time is over"},
	{"not_yet_valid", CertificateExpired, Certain, others, "the proxy checked the certificate: its time has not come"},
	{"issuer_certificate", CertificateUntrusted, Certain, others, "the proxy checked the certificate and knows no authority that issued it"},
	{"self_signed", CertificateUntrusted, Certain, others, "the proxy checked the certificate: it is signed by nobody that the proxy trusts"},
	{"self-signed", CertificateUntrusted, Certain, others, "the proxy checked the certificate: it is signed by nobody that the proxy trusts"},
	{"revoked", CertificateUntrusted, Certain, others, "the proxy checked the certificate: it was revoked"},
	{"trust_bundle", CertificateUntrusted, Certain, others, "the proxy has no roots for the trust domain of the certificate"},
	{"signature_failure", CertificateUntrusted, Certain, others, "the proxy checked the certificate: an authority of this name has another key"},
	{"no_cert_chain", NoCertificate, Certain, others, "the proxy was shown no certificate"},
	{"empty_cert_chain", NoCertificate, Certain, others, "the proxy was shown no certificate"},
	{"", CertificateUntrusted, Likely, others, "the proxy checked the certificate and did not take it"},
}

// handshakes are the other errors, and the alerts that the other side sent
// (BoringSSL's ssl_errors.txt, RFC 8446 §6.2).
var handshakes = []failure{
	{"secret_is_not_supplied_by_sds", NoCertificate, Certain, own, "the proxy has not got its certificate"},
	{"peer_did_not_return_a_certificate", NoCertificate, Certain, others, "the proxy demands a certificate and was shown none"},
	{"alert_certificate_required", NoCertificate, Certain, own, "the other side demands a certificate and was shown none"},
	{"alert_certificate_expired", CertificateExpired, Certain, own, "the other side refused the certificate as one whose time is over"},
	{"alert_unknown_ca", CertificateUntrusted, Certain, own, "the other side refused the certificate as one of an authority that it does not know"},
	{"alert_certificate_unknown", NameMismatch, Likely, own, "the other side refused the certificate, and neither for its time nor for its authority"},
	{"alert_certificate_revoked", CertificateUntrusted, Certain, own, "the other side refused the certificate as revoked"},
	{"alert_bad_certificate", CertificateUntrusted, Likely, own, "the other side refused the certificate as broken"},
	{"alert_unsupported_certificate", CertificateUntrusted, Likely, own, "the other side refused the kind of the certificate"},
	{"alert_access_denied", CertificateUntrusted, Likely, own, "the other side refused who the certificate is for"},
	{"alert_protocol_version", HandshakeRefused, Certain, nobodys, "the sides have no version of TLS in common"},
	{"unsupported_protocol", HandshakeRefused, Certain, nobodys, "the sides have no version of TLS in common"},
	{"no_shared_cipher", HandshakeRefused, Certain, nobodys, "the sides have no cipher in common"},
	{"alert_insufficient_security", HandshakeRefused, Certain, nobodys, "the sides have no cipher in common"},
	{"no_application_protocol", HandshakeRefused, Certain, nobodys, "the sides have no application protocol in common"},
	{"unrecognized_name", HandshakeRefused, Certain, nobodys, "the server serves nothing under the server name of the handshake"},
}

// sans are the names that Envoy writes behind "certificate SANs".
var sans = regexp.MustCompile(`certificate[ _]SANs(?:[ _]are|:)[ _]\[([^\]]*)\]`)

// handshake reads the failures of TLS, on both sides of the proxy.
func handshake(v view) []Candidate {
	if down := v.entry.DownstreamFailure; strings.HasPrefix(normal(down), "tls_error") {
		return fromTLS(down, true, v.side == Client, Server)
	}
	if up := v.upstreamFailure(); strings.HasPrefix(normal(up), "tls_error") {
		return fromTLS(up, false, false, Client)
	}
	return nil
}

// fromTLS reads one text. The proxy that wrote it was the given side of the
// connection; down: that which it received. atClient: the proxy is the client's, so
// that what it received is the client's own.
func fromTLS(written string, down, atClient bool, self Side) []Candidate {
	text := normal(written)
	if out := spoken(text, down, atClient); out != nil {
		return out
	}
	list := handshakes
	if strings.Contains(text, "certificate_verify_failed") {
		list = verified
	}
	for _, f := range list {
		if strings.Contains(text, f.text) {
			return f.candidates(written, self)
		}
	}
	return refusedHandshake(text, self)
}

func (f failure) candidates(written string, self Side) []Candidate {
	c := Candidate{Cause: f.cause, Certainty: f.sure, Why: f.why}
	switch f.whose {
	case own:
		c.Holder = self
	case others:
		c.Holder = self.other()
	}
	if f.sure != Certain {
		c.Needs = "what the other side's proxy says of it (%DOWNSTREAM_TRANSPORT_FAILURE_REASON% or %UPSTREAM_TRANSPORT_FAILURE_REASON%)"
	}
	if f.cause == NameMismatch {
		if m := sans.FindStringSubmatch(written); m != nil {
			for name := range strings.SplitSeq(m[1], ",") {
				c.Names = append(c.Names, strings.Trim(name, " _"))
			}
		}
	}
	out := []Candidate{c}
	if f.cause == NameMismatch && f.sure != Certain {
		out = append(out, Candidate{Cause: CertificateUntrusted, Certainty: Possible, Why: f.why, Needs: c.Needs, Holder: c.Holder})
	}
	return out
}

// spoken reads that one side spoke no TLS at all.
func spoken(text string, down, atClient bool) []Candidate {
	plain := strings.Contains(text, "wrong_version_number") || strings.Contains(text, "http_request") || strings.Contains(text, "https_proxy_request")
	switch {
	case !plain:
		return nil
	case down && !atClient:
		return []Candidate{{Cause: PlaintextToStrict, Certainty: Certain, Why: "the server's proxy waited for a handshake and got plaintext"}}
	case down:
		return []Candidate{{Cause: ProtocolError, Certainty: Certain, Why: "the proxy waited for a handshake of the client and got plaintext"}}
	}
	return []Candidate{{Cause: MutualTLSToPlaintext, Certainty: Certain, Why: "the proxy began a handshake, and what came back is no TLS"}}
}

// refusedHandshake is for errors that several causes have.
func refusedHandshake(text string, self Side) []Candidate {
	if strings.Contains(text, "alert_handshake_failure") {
		const why = "the other side ended the handshake for want of what it demands: a certificate, mostly"
		return []Candidate{
			{Cause: NoCertificate, Certainty: Likely, Why: why, Needs: serversTLS, Holder: self},
			{Cause: HandshakeRefused, Certainty: Possible, Why: why, Needs: serversTLS},
		}
	}
	why := "the handshake failed"
	if strings.Contains(text, "reset_by_peer") || strings.Contains(text, "closed") || strings.Contains(text, "broken_pipe") {
		why = "the other side closed the connection in the middle of the handshake, without a word"
	}
	return []Candidate{
		{Cause: HandshakeRefused, Certainty: Likely, Why: why, Needs: serversTLS},
		{Cause: NoCertificate, Certainty: Possible, Why: why, Needs: serversTLS, Holder: self.other()},
		{Cause: MutualTLSToPlaintext, Certainty: Possible, Why: why, Needs: speaksTLS},
	}
}
