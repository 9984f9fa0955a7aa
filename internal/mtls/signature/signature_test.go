// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

// at is the time of most lines, and the ends of most connections.
const (
	at       = "2026-03-01T10:00:00.000Z"
	client   = "10.0.0.8:40000"
	server   = "10.0.0.3:9080"
	outbound = "outbound|9080||cart.shop.svc.cluster.local"
	inbound  = "inbound|9080||"
	cut      = "upstream_reset_before_response_started{connection_termination}"
)

// line is one of Istio's JSON format: fields in pairs of name and value.
func line(t testing.TB, fields ...string) *accesslog.Entry {
	t.Helper()
	var parts []string
	for i := 0; i < len(fields); i += 2 {
		parts = append(parts, fmt.Sprintf("%q:%q", fields[i], fields[i+1]))
	}
	e, err := accesslog.Parse("{" + strings.Join(parts, ",") + "}")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sent is a line of a client's proxy about a request, received one of a server's.
func sent(t testing.TB, code, flags, details string, more ...string) *accesslog.Entry {
	return line(t, append([]string{"start_time", at, "method", "GET", "path", "/", "upstream_cluster", outbound, "upstream_host", server, "request_id", "1", "response_code", code, "response_flags", flags, "response_code_details", details, "duration", "3"}, more...)...)
}

func received(t testing.TB, code, flags, details string, more ...string) *accesslog.Entry {
	return line(t, append([]string{"start_time", at, "method", "GET", "path", "/", "upstream_cluster", inbound, "downstream_local_address", server, "request_id", "1", "response_code", code, "response_flags", flags, "response_code_details", details, "duration", "3"}, more...)...)
}

// listened is a line of the listener of a server's proxy.
func listened(t testing.TB, flags, details string, more ...string) *accesslog.Entry {
	return line(t, append([]string{"start_time", at, "downstream_local_address", server, "downstream_remote_address", client, "response_code", "0", "response_flags", flags, "response_code_details", details}, more...)...)
}

const upstreamFailure, downstreamFailure = "upstream_transport_failure_reason", "downstream_transport_failure_reason"

// short are candidates as "Cause Certainty Holder".
func short(all []signature.Candidate) []string {
	var out []string
	for _, c := range all {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Cause, c.Certainty, c.Holder)))
	}
	return out
}

func TestALineLeadsToItsCauses(t *testing.T) {
	aClosed := []string{"PlaintextToStrict Possible", "IdleReset Possible", "ApplicationReset Possible", "CertificateUntrusted Possible Client", "CertificateExpired Possible Client", "NoCertificate Possible Client"}
	tlsError := func(text string) *accesslog.Entry {
		return sent(t, "503", "UF", "upstream_reset_before_response_started{remote_connection_failure|"+text+"}", upstreamFailure, text)
	}
	for name, c := range map[string]struct {
		lines signature.Lines
		want  []string
	}{
		"nothing":                                {signature.Lines{}, []string{"Unrecognised Possible"}},
		"a request that went well":               {signature.Lines{Client: sent(t, "200", "-", "via_upstream")}, []string{"NotAFailure Certain"}},
		"a closed connection":                    {signature.Lines{Client: sent(t, "503", "UC", cut)}, aClosed},
		"a closed connection at the last try":    {signature.Lines{Client: sent(t, "503", "URX,UC", cut)}, aClosed},
		"one that stood for long":                {signature.Lines{Client: sent(t, "503", "UC", cut, "duration", "4000")}, []string{"ApplicationReset Likely", "PlaintextToStrict Possible"}},
		"one that closed in an answer":           {signature.Lines{Client: sent(t, "200", "UC", "upstream_reset_after_response_started{connection_termination}")}, []string{"ApplicationReset Likely"}},
		"one to the application":                 {signature.Lines{Server: received(t, "503", "UC", cut)}, []string{"ApplicationReset Possible", "IdleReset Possible"}},
		"one to the application, for long":       {signature.Lines{Server: received(t, "503", "UC", cut, "duration", "4000")}, []string{"ApplicationReset Likely"}},
		"TLS answered in plaintext":              {signature.Lines{Client: tlsError("TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end")}, []string{"MutualTLSToPlaintext Certain"}},
		"the same in blanks":                     {signature.Lines{Client: tlsError("TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER")}, []string{"MutualTLSToPlaintext Certain"}},
		"the same by its details alone":          {signature.Lines{Client: sent(t, "503", "UF", "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}")}, []string{"MutualTLSToPlaintext Certain"}},
		"a certificate that was not taken":       {signature.Lines{Client: tlsError("TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end")}, []string{"CertificateUntrusted Likely Server"}},
		"a self-signed one":                      {signature.Lines{Client: tlsError("TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_self-signed_certificate:TLS_error_end")}, []string{"CertificateUntrusted Certain Server"}},
		"one that is not good yet":               {signature.Lines{Client: tlsError("TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_is_not_yet_valid:TLS_error_end")}, []string{"CertificateExpired Certain Server"}},
		"the alert of an unknown one":            {signature.Lines{Client: tlsError("TLS_error:|268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN:TLS_error_end")}, []string{"NameMismatch Likely Client", "CertificateUntrusted Possible Client"}},
		"the alert of a required one":            {signature.Lines{Client: tlsError("TLS_error:|268436612:SSL_routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED:TLS_error_end")}, []string{"NoCertificate Certain Client"}},
		"a handshake that was reset":             {signature.Lines{Client: tlsError("TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end")}, []string{"HandshakeRefused Likely", "NoCertificate Possible Server", "MutualTLSToPlaintext Possible"}},
		"an error of tomorrow":                   {signature.Lines{Client: tlsError("TLS_error:|1:SSL_routines:OPENSSL_internal:SOMETHING:TLS_error_end")}, []string{"HandshakeRefused Likely", "NoCertificate Possible Server", "MutualTLSToPlaintext Possible"}},
		"a connection that was refused":          {signature.Lines{Client: tlsError("delayed_connect_error:_Connection_refused")}, []string{"ConnectionRefused Certain"}},
		"no way to the endpoint":                 {signature.Lines{Client: tlsError("immediate_connect_error:_Network_is_unreachable")}, []string{"Unreachable Certain"}},
		"a connection that did not stand":        {signature.Lines{Client: sent(t, "503", "UF", "upstream_reset_before_response_started{connection_timeout}")}, []string{"Unreachable Likely", "MutualTLSToPlaintext Possible"}},
		"the same to the application":            {signature.Lines{Server: received(t, "503", "UF", "upstream_reset_before_response_started{connection_timeout}")}, []string{"Unreachable Likely"}},
		"a connection that failed somehow":       {signature.Lines{Client: sent(t, "503", "UF", "upstream_reset_before_response_started{remote_connection_failure}")}, []string{"HandshakeRefused Possible", "MutualTLSToPlaintext Possible", "ConnectionRefused Possible", "Unreachable Possible"}},
		"plaintext, as the server got it":        {signature.Lines{Server: listened(t, "NR", "filter_chain_not_found", downstreamFailure, "TLS_error|error:1000009c:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end")}, []string{"PlaintextToStrict Certain"}},
		"plaintext to a gateway's TLS":           {signature.Lines{Client: listened(t, "-", "-", downstreamFailure, "TLS_error:|268435612:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end")}, []string{"ProtocolError Certain"}},
		"no chain":                               {signature.Lines{Server: listened(t, "NR", "filter_chain_not_found")}, []string{"PlaintextToStrict Likely", "HostNotServed Possible"}},
		"no chain for a handshake":               {signature.Lines{Server: listened(t, "NR", "filter_chain_not_found", "requested_server_name", "a.example.com")}, []string{"HostNotServed Likely", "HandshakeRefused Possible"}},
		"no chain for one of the mesh":           {signature.Lines{Server: listened(t, "NR", "filter_chain_not_found", "requested_server_name", "outbound_.9080_._.cart.shop.svc.cluster.local")}, []string{"HandshakeRefused Likely", "HostNotServed Possible"}},
		"a host that no gateway has":             {signature.Lines{Client: listened(t, "NR", "filter_chain_not_found", "requested_server_name", "a.example.com")}, []string{"HostNotServed Certain"}},
		"no server name at a gateway":            {signature.Lines{Client: listened(t, "NR", "filter_chain_not_found")}, []string{"ProtocolError Possible", "HostNotServed Possible"}},
		"no HTTP, at the server":                 {signature.Lines{Server: listened(t, "DPE", "http1.codec_error", "response_code", "400")}, []string{"MutualTLSToPlaintext Possible", "ClientTLSToPlaintext Possible", "ProtocolError Possible"}},
		"no HTTP, at the client's own proxy":     {signature.Lines{Client: listened(t, "DPE", "http1.codec_error", "response_code", "400")}, []string{"ClientTLSToPlaintext Likely", "ProtocolError Possible"}},
		"no HTTP, through TLS":                   {signature.Lines{Server: listened(t, "DPE", "http1.codec_error", "response_code", "400", "requested_server_name", "outbound_.9080_._.cart")}, []string{"ProtocolError Certain"}},
		"a path that is refused":                 {signature.Lines{Server: received(t, "400", "-", "path_normalization_failed")}, []string{"ProtocolError Certain"}},
		"an answer that is no HTTP":              {signature.Lines{Client: sent(t, "502", "UPE", "upstream_reset_before_response_started{protocol_error}")}, []string{"AnswerMalformed Certain"}},
		"a reset request":                        {signature.Lines{Client: sent(t, "503", "UR", "upstream_reset_before_response_started{remote_reset}")}, []string{"ApplicationReset Likely", "ConnectionLost Possible"}},
		"an error of the application":            {signature.Lines{Server: received(t, "500", "-", "via_upstream")}, []string{"ApplicationError Certain"}},
		"an error from the other end":            {signature.Lines{Client: sent(t, "500", "-", "via_upstream")}, []string{"ApplicationError Likely"}},
		"a refusal from the other end":           {signature.Lines{Client: sent(t, "403", "-", "via_upstream")}, []string{"ApplicationError Likely", "AuthorizationDenied Possible", "ExternalAuthorization Possible"}},
		"no token for the other end":             {signature.Lines{Client: sent(t, "401", "-", "via_upstream")}, []string{"ApplicationError Likely", "TokenRefused Possible"}},
		"a failure behind the other end":         {signature.Lines{Client: sent(t, "503", "-", "via_upstream")}, []string{"ApplicationError Likely", "ConnectionRefused Possible", "ApplicationReset Possible"}},
		"a policy":                               {signature.Lines{Server: received(t, "403", "-", "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[0]]")}, []string{"AuthorizationDenied Certain"}},
		"a policy on a connection":               {signature.Lines{Server: listened(t, "-", "-", "connection_termination_details", "rbac_access_denied_matched_policy[none]", "upstream_cluster", inbound)}, []string{"AuthorizationDenied Certain"}},
		"a token":                                {signature.Lines{Server: received(t, "401", "-", "jwt_authn_access_denied{Jwt_is_expired}")}, []string{"TokenRefused Certain"}},
		"an external authorization":              {signature.Lines{Server: received(t, "403", "UAEX", "ext_authz_denied")}, []string{"ExternalAuthorization Certain"}},
		"a limit of a rate":                      {signature.Lines{Server: received(t, "429", "RL", "local_rate_limited")}, []string{"RateLimited Certain"}},
		"a fault":                                {signature.Lines{Client: sent(t, "500", "FI", "fault_filter_abort")}, []string{"FaultInjected Certain"}},
		"no endpoint":                            {signature.Lines{Client: sent(t, "503", "UH", "no_healthy_upstream")}, []string{"NoHealthyUpstream Certain"}},
		"no endpoint, by the details":            {signature.Lines{Client: sent(t, "503", "-", "no_healthy_upstream")}, []string{"NoHealthyUpstream Certain"}},
		"no route":                               {signature.Lines{Client: sent(t, "404", "NR", "route_not_found")}, []string{"NoRoute Certain"}},
		"no cluster":                             {signature.Lines{Client: sent(t, "503", "NC", "cluster_not_found")}, []string{"NoCluster Certain"}},
		"a name that is not found":               {signature.Lines{Client: sent(t, "503", "DF", "dns_resolution_failure")}, []string{"NameNotResolved Certain"}},
		"no answer in time":                      {signature.Lines{Client: sent(t, "504", "UT", "response_timeout")}, []string{"Timeout Certain"}},
		"too many requests":                      {signature.Lines{Client: sent(t, "503", "UO", "upstream_reset_before_response_started{overflow}")}, []string{"Overflow Certain"}},
		"tries without an end":                   {signature.Lines{Client: line(t, "response_code", "0", "response_flags", "URX", "upstream_cluster", outbound)}, []string{"RetryLimit Certain"}},
		"a client that left":                     {signature.Lines{Client: sent(t, "0", "DC", "downstream_remote_disconnect")}, []string{"ClientGone Certain"}},
		"a client that left the server":          {signature.Lines{Server: received(t, "0", "DC", "downstream_remote_disconnect")}, []string{"ClientGone Likely", "Timeout Possible"}},
		"an answer of a route":                   {signature.Lines{Client: sent(t, "301", "-", "direct_response")}, []string{"NotAFailure Certain"}},
		"an error of a route":                    {signature.Lines{Client: sent(t, "502", "-", "direct_response")}, []string{"DirectResponse Certain"}},
		"a connection that carried bytes":        {signature.Lines{Client: line(t, "upstream_cluster", outbound, "bytes_received", "10", "bytes_sent", "20")}, []string{"NotAFailure Likely"}},
		"a connection that nothing came of":      {signature.Lines{Client: line(t, "upstream_cluster", outbound, "bytes_received", "10", "bytes_sent", "0")}, []string{"PlaintextToStrict Possible", "ApplicationReset Possible", "NotAFailure Possible"}},
		"a connection that was reset":            {signature.Lines{Client: line(t, "upstream_cluster", outbound, "response_flags", "UR")}, []string{"PlaintextToStrict Possible", "ApplicationReset Possible", "CertificateUntrusted Possible Client", "CertificateExpired Possible Client", "NoCertificate Possible Client"}},
		"a status and nothing else, of no proxy": {signature.Lines{Client: sent(t, "503", "-", "-")}, []string{"Unrecognised Possible"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := short(signature.Of(c.lines)); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestTwoLinesSayMoreThanOne(t *testing.T) {
	closed := sent(t, "503", "UC", cut, "upstream_local_address", client)
	failed := func(text string) *accesslog.Entry { return sent(t, "503", "UF", "-", upstreamFailure, text) }
	reset := failed("TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end")
	for name, c := range map[string]struct {
		lines signature.Lines
		want  []string
	}{
		"plaintext that no chain takes":            {signature.Lines{Client: closed, Server: listened(t, "NR", "filter_chain_not_found")}, []string{"PlaintextToStrict Certain"}},
		"a certificate that is refused in TLS 1.3": {signature.Lines{Client: closed, Server: listened(t, "-", "-", downstreamFailure, "TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end")}, []string{"NoCertificate Certain Client"}},
		"the line of another connection":           {signature.Lines{Client: sent(t, "503", "UC", cut, "upstream_local_address", "10.0.0.8:40001"), Server: listened(t, "NR", "filter_chain_not_found")}, short(signature.Of(signature.Lines{Client: closed}))},
		"a handshake that no chain takes":          {signature.Lines{Client: reset, Server: listened(t, "NR", "filter_chain_not_found", "requested_server_name", "outbound_.9080_._.cart")}, []string{"HandshakeRefused Likely"}},
		"a server without a certificate":           {signature.Lines{Client: reset, Server: listened(t, "-", "-", downstreamFailure, "TLS_error:_Secret_is_not_supplied_by_SDS")}, []string{"NoCertificate Certain Server"}},
		"TLS that is read as HTTP":                 {signature.Lines{Client: failed("TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"), Server: listened(t, "DPE", "http1.codec_error")}, []string{"MutualTLSToPlaintext Certain"}},
		"TLS that fails elsewhere at the time":     {signature.Lines{Client: sent(t, "503", "UF", "upstream_reset_before_response_started{connection_timeout}"), Server: listened(t, "NR", "filter_chain_not_found")}, []string{"Unreachable Likely", "MutualTLSToPlaintext Possible"}},
		"a policy behind an answer":                {signature.Lines{Client: sent(t, "403", "-", "via_upstream"), Server: received(t, "403", "-", "rbac_access_denied_matched_policy[none]")}, []string{"AuthorizationDenied Certain"}},
		"an application's own answer":              {signature.Lines{Client: sent(t, "403", "-", "via_upstream"), Server: received(t, "403", "-", "via_upstream")}, []string{"ApplicationError Certain"}},
		"a request that the server had":            {signature.Lines{Client: closed, Server: received(t, "200", "-", "via_upstream")}, []string{"ConnectionLost Likely"}},
		"a server that saw the client leave":       {signature.Lines{Client: sent(t, "504", "UT", "response_timeout"), Server: received(t, "0", "DC", "downstream_remote_disconnect")}, []string{"Timeout Certain"}},
		"the request of another hop":               {signature.Lines{Client: closed, Server: received(t, "503", "UH", "no_healthy_upstream", "downstream_local_address", "10.0.0.4:9080")}, short(signature.Of(signature.Lines{Client: closed}))},
		"a connection that was used before": {
			signature.Lines{Client: closed, Earlier: sent(t, "200", "-", "via_upstream", "upstream_local_address", client, "request_id", "0")}, []string{"IdleReset Likely", "ApplicationReset Possible"},
		},
		"a connection that was not": {
			signature.Lines{Client: closed, Earlier: sent(t, "200", "-", "via_upstream", "upstream_local_address", "10.0.0.8:39999", "request_id", "0")}, short(signature.Of(signature.Lines{Client: closed})),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := short(signature.Of(c.lines)); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestLinesOfOneRequestAreRelated(t *testing.T) {
	unmade := sent(t, "503", "UF", "-", "request_id", "-")
	for name, c := range map[string]struct {
		client, server *accesslog.Entry
		want           signature.Relation
	}{
		"the request":              {sent(t, "503", "-", "via_upstream"), received(t, "503", "UC", cut), signature.Same},
		"another request":          {sent(t, "503", "-", "via_upstream", "request_id", "2"), received(t, "503", "UC", cut), signature.Unrelated},
		"the request, elsewhere":   {sent(t, "503", "-", "via_upstream", "upstream_host", "10.0.0.4:9080"), received(t, "503", "UC", cut), signature.Unrelated},
		"the connection":           {sent(t, "503", "UC", cut, "upstream_local_address", client), listened(t, "NR", "-"), signature.Same},
		"another connection":       {sent(t, "503", "UC", cut, "upstream_local_address", "10.0.0.8:1"), listened(t, "NR", "-"), signature.Unrelated},
		"the time":                 {unmade, listened(t, "NR", "-", "start_time", "2026-03-01T10:00:01Z"), signature.Near},
		"another time":             {unmade, listened(t, "NR", "-", "start_time", "2026-03-01T10:00:09Z"), signature.Unrelated},
		"no time":                  {unmade, listened(t, "NR", "-", "start_time", "-"), signature.Unrelated},
		"a line that says nothing": {line(t, "response_code", "503"), line(t, "response_code", "503"), signature.Unrelated},
	} {
		if got := signature.Relate(c.client, c.server); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestALineSaysWhoWroteIt(t *testing.T) {
	for name, c := range map[string]struct {
		entry *accesslog.Entry
		want  signature.Side
	}{
		"sent on":               {sent(t, "503", "UC", cut), signature.Client},
		"to the application":    {received(t, "503", "UC", cut), signature.Server},
		"taken by no chain":     {listened(t, "NR", "filter_chain_not_found"), signature.Server},
		"TLS with the client":   {listened(t, "-", "-", downstreamFailure, "TLS_error:|1:x"), signature.Server},
		"a route that is there": {sent(t, "404", "NR", "route_not_found"), signature.Client},
	} {
		if got := signature.SideOf(c.entry); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestACandidateHasWhatTheLineSaysOfIt(t *testing.T) {
	got := signature.Of(signature.Lines{Client: sent(t, "503", "UF", "-", upstreamFailure, "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,_certificate_SANs_are_[spiffe://cluster.local/ns/shop/sa/Web_1,_web.shop]:TLS_error_end")})[0]
	if got.Cause != signature.NameMismatch || !slices.Equal(got.Names, []string{"spiffe://cluster.local/ns/shop/sa/Web_1", "web.shop"}) {
		t.Errorf("%+v", got)
	}
	got = signature.Of(signature.Lines{Server: received(t, "403", "-", "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[0]]")})[0]
	if got.Policy != "ns[shop]-policy[closed]-rule[0]" {
		t.Errorf("%+v", got)
	}
	got = signature.Of(signature.Lines{Server: received(t, "401", "-", "jwt_authn_access_denied{Jwt_is_expired}")})[0]
	if !strings.Contains(got.Why, "Jwt is expired") {
		t.Errorf("%+v", got)
	}
}

// The constants are taken from the source, so that none can be forgotten.
func TestEveryCauseIsToldInPlainSentences(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil || text != spec.Names[0].Name {
			t.Errorf("%s is %s", spec.Names[0].Name, literal.Value)
		}
		for _, sentence := range []string{signature.Cause(text).Means(), signature.Cause(text).Fix()} {
			if sentence == "" || strings.HasSuffix(sentence, ".") {
				t.Errorf("%s: %q", text, sentence)
			}
		}
		count++
		return true
	})
	if count < 30 || !signature.PlaintextToStrict.MutualTLS() || signature.ClientTLSToPlaintext.MutualTLS() {
		t.Errorf("%d causes", count)
	}
}

// held is what is true of all answers.
func held(t *testing.T, got []signature.Candidate) {
	t.Helper()
	if len(got) == 0 {
		t.Fatal("no answer")
	}
	rank := map[signature.Certainty]int{signature.Certain: 0, signature.Likely: 1, signature.Possible: 2}
	seen := map[string]bool{}
	for i, c := range got {
		last, known := rank[c.Certainty]
		if !known || c.Why == "" || c.Cause.Means() == "" || (c.Needs == "") != (c.Certainty == signature.Certain) {
			t.Errorf("%+v", c)
		}
		if i > 0 && rank[got[i-1].Certainty] > last {
			t.Errorf("not in order: %q", short(got))
		}
		if key := string(c.Cause + "/" + signature.Cause(c.Holder)); seen[key] {
			t.Errorf("twice: %q", short(got))
		} else {
			seen[key] = true
		}
	}
	if got[0].Certainty == signature.Certain && len(got) > 1 {
		t.Errorf("one is certain, and there are others: %q", short(got))
	}
}

func FuzzOf(f *testing.F) {
	f.Add("UC", cut, "", "", "", "503", "GET", "NR", "filter_chain_not_found", "")
	f.Add("UF", "-", "TLS_error:|1:x:WRONG_VERSION_NUMBER", "", "outbound_.", "503", "", "DPE", "http1.codec_error", "TLS_error:|1:CERTIFICATE_VERIFY_FAILED")
	f.Add("URX,UC,UR", "via_upstream", "TLS_error:|1:ALERT_CERTIFICATE_UNKNOWN", "TLS_error:|1:ALERT_HANDSHAKE_FAILURE", "a", "403", "GET", "DC", "upstream_reset_after_response_started{x}", "TLS_error:|1:reset_by_peer")
	f.Fuzz(func(t *testing.T, flags, details, up, down, name, code, method, serverFlags, serverDetails, serverDown string) {
		status, _ := strconv.Atoi(code)
		one := &accesslog.Entry{Method: method, Flags: strings.Split(flags, ","), Details: details, TransportFailure: up, DownstreamFailure: down, ServerName: name, Code: status, Cluster: outbound}
		for _, sameMethod := range []string{"", method} {
			two := &accesslog.Entry{Method: sameMethod, Flags: strings.Split(serverFlags, ","), Details: serverDetails, DownstreamFailure: serverDown, ServerName: name, Code: status, Cluster: inbound}
			one.RequestID, two.RequestID = "1", "1"
			for _, l := range []signature.Lines{{Client: one}, {Server: one}, {Client: one, Server: two}, {Server: two}, {Client: two, Server: one, Earlier: one}} {
				held(t, signature.Of(l))
			}
		}
	})
}
