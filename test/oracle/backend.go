// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Answer is what a Backend answers, as JSON.
type Answer struct {
	Application string `json:"application"`
	Port        string `json:"port"`
	Method      string `json:"method"`
	Host        string `json:"host"`
	// RequestURI is the target as it arrived.
	RequestURI string `json:"requestURI"`
	// Reads are the paths that back ends may take it for; see Readings.
	Reads  []string    `json:"reads"`
	Header http.Header `json:"header"`
}

// Headers of a Backend's answer, which say what it was even to HEAD.
const (
	HeaderApplication = "X-Application"
	HeaderPort        = "X-Port"
	HeaderTarget      = "X-Target"
	HeaderMethod      = "X-Method"
)

// Backend serves everything with 200 and an Answer, as an application would that
// checks nothing itself. A WebSocket upgrade is answered 101.
func Backend(application, port string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderApplication, application)
		w.Header().Set(HeaderPort, port)
		w.Header().Set(HeaderTarget, r.RequestURI)
		w.Header().Set(HeaderMethod, r.Method)
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Answer{
			Application: application, Port: port, Method: r.Method, Host: r.Host,
			RequestURI: r.RequestURI, Reads: Readings(r.RequestURI), Header: r.Header,
		})
	})
}

// Readings are the paths that back ends in use take a request target for: the
// first is the target as it is, without its query; then decoded once, as by
// Python's http.server; with parameters removed before decoding, as by Java
// servlets; with backslashes as slashes, as on Windows; cut at a NUL, as in C;
// and decoded twice, as behind one more proxy. Dot segments and empty segments
// are removed in all but the first; a slash at the end stays, since it makes
// another path everywhere. Repetitions are left out.
func Readings(target string) []string {
	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	literal, _, _ := strings.Cut(target, "?")
	once := decode(literal)
	out := []string{literal}
	for _, reading := range []string{
		literal, once, decode(withoutParameters(literal)), withoutParameters(once),
		strings.ReplaceAll(once, "\\", "/"), cutAtNUL(once), decode(once),
		strings.ReplaceAll(decode(once), "\\", "/"),
	} {
		clean := path.Clean("/" + reading)
		if strings.HasSuffix(reading, "/") && clean != "/" {
			clean += "/"
		}
		if !slices.Contains(out, clean) {
			out = append(out, clean)
		}
	}
	return out
}

// decode is lenient, as back ends are: what is no valid escape stays.
func decode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func withoutParameters(s string) string {
	segments := strings.Split(s, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

func cutAtNUL(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}
