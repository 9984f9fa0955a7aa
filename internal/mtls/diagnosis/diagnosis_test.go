// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnosis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
)

const cut = "upstream_reset_before_response_started{connection_termination}"

// sent is a line of a client's proxy in Istio's text format, received one of a server's
// and refused one of a server's listener. Second is when, and from the port of the
// client's end of the connection.
func sent(second, from int, outcome, id string) string {
	return fmt.Sprintf(`[2026-03-01T10:00:%02d.000Z] "GET /a?token=hunter2 HTTP/1.1" %s - "-" 0 95 1 - "-" "curl/8.5.0" "%s" "cart:9080" "10.0.0.3:9080" outbound|9080||cart.shop.svc.cluster.local 10.0.0.8:%d 10.96.0.1:9080 10.0.0.8:50000 - default`, second, outcome, id, from)
}

func received(second, from int, outcome, id string) string {
	return fmt.Sprintf(`[2026-03-01T10:00:%02d.001Z] "GET /a HTTP/1.1" %s - "-" 0 95 1 - "-" "curl/8.5.0" "%s" "cart:9080" "127.0.0.6:9080" inbound|9080|| - 10.0.0.3:9080 10.0.0.8:%d outbound_.9080_._.cart.shop.svc.cluster.local default`, second, outcome, id, from)
}

func refused(second, from int) string {
	return fmt.Sprintf(`[2026-03-01T10:00:%02d.000Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.0.0.3:9080 10.0.0.8:%d - -`, second, from)
}

func logOf(lines ...string) *diagnosis.Log {
	log := &diagnosis.Log{}
	for i, l := range lines {
		log.Add(diagnosis.Place{File: "log", Line: i + 1}, l, accesslog.Writer{})
	}
	return log
}

// short are failures as "count/paired/proven client>service conclusion cause certainty".
func short(r *diagnosis.Report) []string {
	var out []string
	for _, f := range r.Failures {
		c := f.Candidates[0]
		out = append(out, fmt.Sprintf("%d/%d/%d %s>%s %s %s %s", f.Count, f.Paired, f.Proven, f.Client, strings.TrimSuffix(f.Service, ".shop.svc.cluster.local:9080"), f.Conclusion, c.Cause, c.Certainty))
	}
	return out
}

func TestLinesThatAreAlikeAreOneFailure(t *testing.T) {
	broken, well := "503 UC "+cut, "200 - via_upstream"
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"nothing":                       {nil, nil},
		"all went well":                 {[]string{sent(1, 1, well, "a"), received(1, 1, well, "a")}, nil},
		"one line is not enough":        {[]string{sent(1, 1, broken, "a")}, []string{"1/0/0 10.0.0.8>cart Undecided PlaintextToStrict Possible"}},
		"the listener's line settles":   {[]string{sent(1, 1, broken, "a"), refused(1, 1)}, []string{"1/1/1 10.0.0.8>cart MutualTLS PlaintextToStrict Certain"}},
		"in any order":                  {[]string{refused(1, 1), sent(1, 1, broken, "a")}, []string{"1/1/1 10.0.0.8>cart MutualTLS PlaintextToStrict Certain"}},
		"of some, and others are alike": {[]string{sent(1, 1, broken, "a"), refused(1, 1), sent(9, 2, broken, "b")}, []string{"2/1/1 10.0.0.8>cart MutualTLS PlaintextToStrict Certain"}},
		"a line of another connection is another failure": {[]string{sent(1, 1, broken, "a"), refused(1, 2)}, []string{
			"1/0/0 10.0.0.8>cart Undecided PlaintextToStrict Possible", "1/0/0 10.0.0.8>10.0.0.3:9080 MutualTLS PlaintextToStrict Likely"}},
		"the most frequent first": {[]string{sent(1, 1, "404 - via_upstream", "a"), sent(2, 2, broken, "b"), sent(3, 3, broken, "c")}, []string{
			"2/0/0 10.0.0.8>cart Undecided PlaintextToStrict Possible", "1/0/0 10.0.0.8>cart NotMutualTLS ApplicationError Likely"}},
		"a request that went well in between": {[]string{sent(1, 1, broken, "a"), sent(2, 2, well, "b"), sent(3, 3, broken, "c")}, []string{"2/0/0 10.0.0.8>cart NotMutualTLS IdleReset Possible"}},
		"one that went well before is not":    {[]string{sent(1, 1, well, "a"), sent(2, 2, broken, "b"), sent(3, 3, broken, "c")}, []string{"2/0/0 10.0.0.8>cart Undecided PlaintextToStrict Possible"}},
		"one that went well after is not":     {[]string{sent(2, 2, broken, "b"), sent(3, 3, broken, "c"), sent(4, 4, well, "a")}, []string{"2/0/0 10.0.0.8>cart Undecided PlaintextToStrict Possible"}},
		"a connection that was used again":    {[]string{sent(1, 1, well, "a"), sent(2, 1, broken, "b")}, []string{"1/0/0 10.0.0.8>cart NotMutualTLS IdleReset Likely"}},
		"the server's line of the same request says why": {[]string{sent(1, 1, "403 - via_upstream", "a"), received(1, 1, "403 - rbac_access_denied_matched_policy[none]", "a")},
			[]string{"1/1/1 10.0.0.8>cart NotMutualTLS AuthorizationDenied Certain"}},
		"a server's line alone":                     {[]string{received(1, 1, "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", "a")}, []string{"1/0/1 10.0.0.8>cart NotMutualTLS ConnectionRefused Certain"}},
		"what lines do not say is not told":         {[]string{`{"method":"GET","path":"/","response_code":503,"upstream_cluster":"outbound|1||a.b"}`}, []string{"1/0/0 >a.b:1 Untold Unrecognised Possible"}},
		"a user before the host is not printed":     {[]string{`{"method":"GET","path":"/","authority":"hunter2:x@cart","response_code":404,"response_flags":"NR","response_code_details":"route_not_found"}`}, []string{"1/0/1 >cart NotMutualTLS NoRoute Certain"}},
		"of a pod, without the name of its replica": {[]string{"[pod/web-6d8c4f7b9d-b5t2m/istio-proxy] " + sent(1, 1, broken, "a"), "[pod/web-6d8c4f7b9d-q4w8z/istio-proxy] " + sent(1, 1, broken, "b")}, []string{"2/0/0 web>cart Undecided PlaintextToStrict Possible"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := diagnosis.Diagnose(logOf(c.lines...), nil)
			if got := short(r); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestOfLinesWithOneIDNoneIsLostAndNoneCountedTwice(t *testing.T) {
	lines := []string{sent(1, 1, "403 - via_upstream", "a")}
	for i := range 200 {
		lines = append(lines, received(1, 2+i, "403 - rbac_access_denied_matched_policy[x]", "a"))
	}
	total, r := 0, diagnosis.Diagnose(logOf(lines...), nil)
	for _, f := range r.Failures {
		total += f.Count
	}
	if r.Requests != 200 || total != 200 {
		t.Errorf("%d requests, %v", r.Requests, short(r))
	}
}

func TestWhatIsSecretIsNotInAnExample(t *testing.T) {
	for path, want := range map[string]string{
		"/a?token=hunter2": "/a", "/a#hunter2": "/a", "/a;jsessionid=hunter2": "/a", "https://me:hunter2@cart/a?b": "/a", "https://[hunter2": "", "*": "*",
	} {
		r := diagnosis.Diagnose(logOf(fmt.Sprintf(`{"method":"GET","path":%q,"authority":"me:hunter2@cart","response_code":503,"response_flags":"UH"}`, path)), nil)
		if e := r.Failures[0].Examples[0]; e.Path != want || e.Authority != "cart" || r.Failures[0].Service != "cart" {
			t.Errorf("%s is shown as %+v", path, e)
		}
	}
}

func TestWhatCannotBeReadIsCounted(t *testing.T) {
	log := logOf("", "  ", "garbage", "\x00\xff", "{", "{}", `{"level":"info","time":"x","msg":"y"}`,
		"2026-03-01T10:00:00.000000Z\tinfo\tads\tconnected", "[pod/a-1/istio-proxy] 2026-03-01T10:00:00.000000Z\twarning\tenvoy config\tx",
		`{"resourceLogs":[]}`, strings.Repeat("x", accesslog.MaxLine+1), sent(1, 1, "200 - via_upstream", "a")[:120])
	if log.UnreadCount != 7 || len(log.Unread) != 5 || log.Others != 3 || log.Entries() != 0 {
		t.Errorf("%d unread (%v), %d others, %d entries", log.UnreadCount, log.Unread, log.Others, log.Entries())
	}
	for _, u := range log.Unread {
		if strings.Contains(u.Why, "garbage") {
			t.Errorf("a line is repeated: %s", u.Why)
		}
	}
}

func TestALogIsReadUpToABound(t *testing.T) {
	log := &diagnosis.Log{}
	one := sent(1, 1, "200 - via_upstream", "a")
	for range diagnosis.MaxEntries + 3 {
		log.Add(diagnosis.Place{Line: 1}, one, accesslog.Writer{})
	}
	if log.Entries() != diagnosis.MaxEntries || log.Beyond != 3 {
		t.Errorf("%d entries, %d beyond", log.Entries(), log.Beyond)
	}
	if r := diagnosis.Diagnose(log, nil); r.WentWell != diagnosis.MaxEntries {
		t.Errorf("%d went well", r.WentWell)
	}
}

func TestManyKindsOfFailuresAreCountedAndNotAllKept(t *testing.T) {
	log := &diagnosis.Log{}
	for i := range 3000 {
		log.Add(diagnosis.Place{Line: 1}, fmt.Sprintf(`{"method":"GET","path":"/","authority":"host-%d","response_code":404,"response_flags":"NR"}`, i), accesslog.Writer{})
	}
	r := diagnosis.Diagnose(log, nil)
	if len(r.Failures) != 2000 || r.Ungrouped != 1000 || r.Requests != 3000 {
		t.Errorf("%d failures, %d ungrouped", len(r.Failures), r.Ungrouped)
	}
}

// FuzzDiagnose holds lines of anybody to never being a panic, and to one answer.
func FuzzDiagnose(f *testing.F) {
	f.Add(sent(1, 1, "503 UC "+cut, "a") + "\n" + refused(1, 1) + "\n" + received(1, 1, "403 - rbac_access_denied_matched_policy[none]", "a"))
	f.Add(`{"method":"GET","response_flags":"NR","upstream_cluster":"outbound|1|","requested_server_name":"outbound_._._."}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		first, again := diagnosis.Diagnose(logOf(lines...), nil), diagnosis.Diagnose(logOf(lines...), nil)
		if a, b := fmt.Sprint(short(first)), fmt.Sprint(short(again)); a != b {
			t.Errorf("%s, and then %s", a, b)
		}
		total := first.WentWell + first.Ungrouped
		for _, failure := range first.Failures {
			total += failure.Count
		}
		if total != first.Requests {
			t.Errorf("%d of %d requests are accounted for", total, first.Requests)
		}
	})
}
