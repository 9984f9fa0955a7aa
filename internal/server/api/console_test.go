// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/viewer"
)

func TestTheConsoleIsServedWithWhatBrowsersAreToKeepTo(t *testing.T) {
	files := fstest.MapFS{
		"index.html":               {Data: []byte("<!doctype html>the console")},
		"assets/index-Bx71kQzP.js": {Data: []byte("run()")},
		"favicon.svg":              {Data: []byte("<svg/>")},
	}
	handler, err := New(Config{Console: files, Gate: viewer.NewGate(nil, clock.RealClock{}), Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return recorder
	}
	for path, want := range map[string]struct {
		status     int
		kind, keep string
	}{
		"/":                         {200, "text/html; charset=utf-8", "no-cache"},
		"/index.html":               {200, "text/html; charset=utf-8", "no-cache"},
		"/applications/shop/cart":   {200, "text/html; charset=utf-8", "no-cache"},
		"/assets/":                  {200, "text/html; charset=utf-8", "no-cache"},
		"/assets/index-Bx71kQzP.js": {200, "text/javascript; charset=utf-8", "immutable"},
		"/favicon.svg":              {200, "image/svg+xml", "no-cache"},
		"/assets/gone-AAAAAAAA.js":  {404, "text/plain; charset=utf-8", ""},
	} {
		got := get(http.MethodGet, path)
		if got.Code != want.status || got.Header().Get("Content-Type") != want.kind || !strings.Contains(got.Header().Get("Cache-Control"), want.keep) {
			t.Errorf("%s: %d %v", path, got.Code, got.Header())
		}
		policy := got.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "script-src") || !strings.Contains(policy, "frame-ancestors 'none'") || got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, got.Header())
		}
	}
	if got := get(http.MethodPost, "/"); got.Code != http.StatusMethodNotAllowed {
		t.Errorf("a page takes a POST: %d", got.Code)
	}
	// Nobody is asked who has no token.
	if got := get(http.MethodGet, "/api/v1/me"); got.Code != http.StatusUnauthorized || got.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("without a token it is answered %d %v", got.Code, got.Header())
	}
}
