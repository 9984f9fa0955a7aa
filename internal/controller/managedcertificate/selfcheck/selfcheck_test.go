// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package selfcheck_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/controller/managedcertificate/selfcheck"
)

func TestOurOwnLookFindsWhatAnAuthorityWould(t *testing.T) {
	t.Parallel()
	handler := http.NewServeMux()
	to := func(where string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, where, http.StatusFound) }
	}
	handler.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("body")) })
	handler.HandleFunc("/space", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("body \r\n")) })
	handler.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a secret of somebody")) })
	handler.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("body" + strings.Repeat(" ", 1<<20) + "more"))
	})
	handler.HandleFunc("/to-good", to("http://a.example.com/good"))
	handler.HandleFunc("/to-port", to("http://a.example.com:8080/good"))
	handler.HandleFunc("/to-host", to("http://169.254.169.254/good"))
	handler.HandleFunc("/to-itself", to("http://a.example.com/to-itself"))
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	var dialled []string
	check := selfcheck.New(func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	})
	for path, want := range map[string]string{
		"/good": "", "/space": "", "/to-good": "", "/other": "answers something else", "/large": "", "/none": "answers HTTP 404",
		"/to-port": "redirects to where", "/to-host": "redirects to where", "/to-itself": "redirects to where",
	} {
		err := check(t.Context(), "a.example.com", path, "body")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: what was found is quoted: %v", path, err)
		}
	}
	for _, address := range dialled {
		if address != "a.example.com:80" {
			t.Errorf("%s was called", address)
		}
	}
}

func TestOurOwnLookSaysTheSameEachTime(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("SSH-2.0-x\r\n"))
			_ = c.Close()
		}
	}()
	for name, test := range map[string]struct {
		dial func(context.Context, string, string) (net.Conn, error)
		want string
	}{
		"closed": {func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, closed.Listener.Addr().String())
		}, "cannot be reached: connect: connection refused"},
		"not HTTP": {func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, silent.Addr().String())
		}, "gives no answer that is HTTP"},
		"no name": {func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "a.example.com", IsNotFound: true}}
		}, "has no address"},
		"no resolver": {func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "server misbehaving", Server: "10.0.0.1:53"}
		}, "has an address that cannot be looked up now"},
		"too slow": {func(context.Context, string, string) (net.Conn, error) {
			return nil, context.DeadlineExceeded
		}, "does not answer within 5s"},
		"something else": {func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("port 4711")
		}, "gives no answer that is HTTP"},
	} {
		err := selfcheck.New(test.dial)(t.Context(), "a.example.com", "/x", "body")
		if err == nil || err.Error() != "http://a.example.com/x "+test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
