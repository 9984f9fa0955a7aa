// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/signature"
)

func failureOf(t *testing.T, fields string) *Failure {
	t.Helper()
	e, err := accesslog.Parse("{" + fields + "}")
	if err != nil {
		t.Fatal(err)
	}
	lines := signature.Lines{Client: e}
	if signature.SideOf(e) == signature.Server {
		lines = signature.Lines{Server: e}
	}
	return &Failure{Flags: e.Flags, Code: e.Code, Candidates: signature.Of(lines)}
}

func checked(status mtls.Status, sends, accepts decide.Transport, flags ...string) *Check {
	return &Check{Status: status, Why: "why", Row: mtls.Row{Sends: []decide.Transport{sends}, Accepts: []decide.Transport{accepts}, Flags: flags}}
}

// TestTheCheckDecidesBetweenCandidates has what remains as "conclusion: cause certainty
// of whom, ...", and a word of a note.
func TestTheCheckDecidesBetweenCandidates(t *testing.T) {
	const closed = `"method":"GET","upstream_cluster":"outbound|80||a.b","response_code":503,"response_flags":"UC","response_code_details":"upstream_reset_before_response_started{connection_termination}"`
	const unconnected = `"method":"GET","upstream_cluster":"outbound|80||a.b","response_code":503,"response_flags":"UF","response_code_details":"upstream_reset_before_response_started{remote_connection_failure}"`
	const noChain = `"response_flags":"NR","response_code_details":"filter_chain_not_found"`
	const noEndpoint = `"method":"GET","upstream_cluster":"outbound|80||a.b","response_code":503,"response_flags":"UH","response_code_details":"no_healthy_upstream"`
	plain, mutual := decide.Plaintext, decide.MutualTLS
	for name, c := range map[string]struct {
		line  string
		check *Check
		want  string
		note  string
	}{
		"nobody compares":                       {closed, nil, "Undecided: PlaintextToStrict Possible, IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", ""},
		"a conflict with the flag that it has":  {closed, checked(mtls.Conflict, plain, mutual, "UC"), "MutualTLS: PlaintextToStrict Certain", ""},
		"a conflict with another flag":          {closed, checked(mtls.Conflict, plain, mutual, "UF"), "MutualTLS: PlaintextToStrict Likely, IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", ""},
		"some endpoints are in conflict":        {closed, checked(mtls.Partial, plain, mutual, "UC"), "MutualTLS: PlaintextToStrict Likely, IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", ""},
		"a conflict the other way round":        {unconnected, checked(mtls.Conflict, mutual, plain, "UF", "URX"), "MutualTLS: MutualTLSToPlaintext Certain", ""},
		"a conflict that is not this failure":   {closed, checked(mtls.Conflict, mutual, plain, "UF"), "Undecided: PlaintextToStrict Possible, IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", "besides"},
		"all goes together in mTLS":             {closed, checked(mtls.OK, mutual, mutual), "NotMutualTLS: IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", ""},
		"all goes together in plaintext":        {closed, checked(mtls.OK, plain, plain), "NotMutualTLS: IdleReset Possible, ApplicationReset Possible", ""},
		"it is not known":                       {closed, checked(mtls.Unknown, "", ""), "Undecided: PlaintextToStrict Possible, IdleReset Possible, ApplicationReset Possible, CertificateUntrusted Possible Client, CertificateExpired Possible Client, NoCertificate Possible Client", "does not know: why"},
		"a server's line and a conflict":        {noChain, checked(mtls.Conflict, plain, mutual, "UC"), "MutualTLS: PlaintextToStrict Certain", ""},
		"a server's line, and all is well now":  {noChain, checked(mtls.OK, mutual, mutual), "MutualTLS: PlaintextToStrict Likely, HostNotServed Possible", "changed since"},
		"a line that is certain of something":   {noEndpoint, checked(mtls.Conflict, plain, mutual, "UC"), "NotMutualTLS: NoHealthyUpstream Certain", "besides"},
		"a line that is certain, and all well":  {noEndpoint, checked(mtls.OK, mutual, mutual), "NotMutualTLS: NoHealthyUpstream Certain", ""},
		"a certificate, which no check can see": {`"response_flags":"UF","upstream_cluster":"outbound|80||a.b","upstream_transport_failure_reason":"TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_certificate_has_expired"`, checked(mtls.OK, mutual, mutual), "MutualTLS: CertificateExpired Certain Server", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := failureOf(t, c.line)
			f.Check = c.check
			f.judge(nil)
			var left []string
			for _, one := range f.Candidates {
				left = append(left, strings.TrimSpace(fmt.Sprintf("%s %s %s", one.Cause, one.Certainty, one.Holder)))
			}
			if got := fmt.Sprintf("%s: %s", f.Conclusion, strings.Join(left, ", ")); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if notes := strings.Join(f.Notes, "\n"); (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			if (c.check == nil || c.check.Status == mtls.Unknown) && len(f.Excluded) > 0 {
				t.Errorf("excluded without a reason: %v", f.Excluded)
			}
		})
	}
}

func TestOfAServiceWhoseEndpointsDifferTheOneThatWasSentToDecides(t *testing.T) {
	row := mtls.Row{Status: mtls.Partial, Endpoints: []mtls.Endpoint{
		{Addresses: []string{"10.0.0.1:80", "10.0.0.2:80"}, Status: mtls.OK, Sends: decide.Plaintext},
		{Addresses: []string{"10.0.0.3:80"}, Status: mtls.Conflict, Sends: decide.Plaintext, Accepts: []decide.Transport{decide.MutualTLS}, Flags: []string{"UC"}},
	}}
	for _, c := range []struct {
		to   string
		want mtls.Status
	}{
		{"10.0.0.1:80 10.0.0.2:80", mtls.OK}, {"10.0.0.3:80", mtls.Conflict}, {"10.0.0.1:80 10.0.0.3:80", mtls.Partial}, {"10.0.0.9:80", mtls.Partial}, {"", mtls.Partial},
	} {
		var to []netip.AddrPort
		for _, text := range strings.Fields(c.to) {
			to = append(to, netip.MustParseAddrPort(text))
		}
		check := &Check{Status: row.Status, Row: row}
		if check.narrow(to); check.Status != c.want {
			t.Errorf("%q is %s, want %s", c.to, check.Status, c.want)
		}
	}
}
