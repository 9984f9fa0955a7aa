// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// bearer adds the token of a kubeconfig.
type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer mine")
	return http.DefaultTransport.RoundTrip(r)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheBrowserWithTheKeyIsLedToTheServerAndAsNobodyElse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+" "+r.Header.Get("Cookie")+" "+r.URL.RequestURI())
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	must(t, err)
	outer := httptest.NewUnstartedServer(nil)
	d := newDoor(target, bearer{}, outer.Listener.Addr().String(), "open-sesame")
	outer.Config.Handler = d
	outer.Start()
	defer outer.Close()
	get := func(c *http.Client, address string, change func(*http.Request)) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		must(t, err)
		if change != nil {
			change(r)
		}
		response, err := c.Do(r)
		must(t, err)
		raw, err := io.ReadAll(response.Body)
		must(t, err)
		must(t, response.Body.Close())
		return response.StatusCode, string(raw)
	}
	jar, err := cookiejar.New(nil)
	must(t, err)
	browser := &http.Client{Jar: jar}
	if status, text := get(browser, d.address(), nil); status != http.StatusOK || text != "Bearer mine  /" {
		t.Errorf("the address is answered %d %q", status, text)
	}
	claim := func(r *http.Request) { r.Header.Set("Authorization", "Bearer another") }
	if status, text := get(browser, outer.URL+"/api/v1/me?x=1", claim); status != http.StatusOK || text != "Bearer mine  /api/v1/me?x=1" {
		t.Errorf("the browser is answered %d %q", status, text)
	}
	for name, change := range map[string]func(*http.Request){
		"without a key":    nil,
		"with another key": func(r *http.Request) { r.URL.RawQuery = "key=guess" },
		"by another's name": func(r *http.Request) {
			r.Host = "rebound.example.com"
			r.AddCookie(&http.Cookie{Name: cookie, Value: "open-sesame"})
		},
	} {
		if status, text := get(http.DefaultClient, outer.URL+"/api/v1/me", change); status < 400 || strings.Contains(text, "mine") {
			t.Errorf("%s it is answered %d %q", name, status, text)
		}
	}
}
