// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

func TestADigestIsOfTheWholeStatementAndOfNothingElse(t *testing.T) {
	a, b := &v1alpha1.ApplicationSpec{Service: "a"}, &v1alpha1.ApplicationSpec{Service: "a"}
	if Digest(a) != Digest(b) || Digest(a) == "" {
		t.Error("the same statement has two digests")
	}
	b.Tests = []v1alpha1.AccessTest{{Name: "one"}}
	if Digest(a) == Digest(b) {
		t.Error("tests are not part of the statement")
	}
}

// said is what a client reports.
type said struct {
	report *Report
	err    error
}

// follow runs a client against a server and returns what it reports.
func follow(t *testing.T, server *httptest.Server) <-chan said {
	t.Helper()
	return followBy(t, server, clock.RealClock{})
}

func followBy(t *testing.T, server *httptest.Server, by clock.Clock) <-chan said {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := NewClient(ClientConfig{
		Address: server.URL, ServerName: "example.com", Clock: by, Log: slog.New(slog.DiscardHandler),
		Roots: func() (*x509.CertPool, error) { return roots, nil },
		Token: func(context.Context) (string, error) { return "secret", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan said, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx, func(r *Report, err error) { out <- said{r, err} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return out
}

func next(t *testing.T, out <-chan said) said {
	t.Helper()
	select {
	case s := <-out:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is reported")
	}
	return said{}
}

func TestAClientReportsNewsAndThatTheServerIsAway(t *testing.T) {
	first, err := Seal([]Application{{Name: "a", State: Passed}}, "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Seal(nil, "odd objects")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan *Report, 4)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		select {
		case report := <-answers:
			_ = json.NewEncoder(w).Encode(report)
		case <-time.After(10 * time.Millisecond):
			w.WriteHeader(http.StatusNotModified)
		}
	}))
	server.StartTLS()
	out := follow(t, server)
	answers <- first
	if got := next(t, out); got.report == nil || got.report.Revision != first.Revision || got.report.Applications[0].State != Passed {
		t.Errorf("got %+v", got)
	}
	// The same again is no news.
	answers <- first
	answers <- second
	if got := next(t, out); got.report == nil || got.report.Problem != "odd objects" {
		t.Errorf("got %+v", got)
	}
	server.Close()
	if got := next(t, out); got.err == nil {
		t.Errorf("got %+v, want that it is away", got)
	}
}

func TestAnotherAuthorityIsNotBelieved(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	c, err := NewClient(ClientConfig{
		Address: server.URL, ServerName: "example.com", Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		Roots: func() (*x509.CertPool, error) { return x509.NewCertPool(), nil },
		Token: func(context.Context) (string, error) { return "secret", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := c.ask(t.Context(), ""); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
	if _, err := NewClient(ClientConfig{Address: "http://somewhere"}); err == nil {
		t.Error("an address without TLS is taken")
	}
}

func TestReplicasThatSayDifferentThingsAreNotAskedWithoutEnd(t *testing.T) {
	asked := make(chan struct{}, 1000)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Each connection may lead to another replica.
		asked <- struct{}{}
		answer := Report{Revision: "a"}
		if r.URL.Query().Get(After) == "a" {
			answer.Revision = "b"
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	by := testclock.NewFakeClock(time.Unix(0, 0))
	out := followBy(t, server, by)
	for _, want := range []string{"a", "b"} {
		if got := next(t, out); got.report == nil || got.report.Revision != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
		for !by.HasWaiters() {
			if len(asked) > 2 {
				t.Fatal("it is asked again and again, and no time passes")
			}
			runtime.Gosched()
		}
		by.Step(again)
	}
}
