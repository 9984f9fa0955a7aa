// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/compile"
)

// gateway answers like a gateway, over TLS, and counts its connections.
type gateway struct {
	*httptest.Server
	connections atomic.Int32
	got         chan *http.Request
}

func newGateway(t *testing.T, answer http.HandlerFunc) *gateway {
	t.Helper()
	g := &gateway{got: make(chan *http.Request, 64)}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.got <- r
		answer(w, r)
	}))
	g.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			g.connections.Add(1)
		}
	}
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) fingerprint() string {
	sum := sha256.Sum256(g.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

func (g *gateway) probe() compile.Probe {
	return compile.Probe{
		Route: "api", Host: "shop.example.com", Method: http.MethodGet, Path: "/api/v1", Expect: compile.ExpectRefused,
		Port: portOf(g.Listener), Fingerprint: g.fingerprint(),
	}
}

func portOf(listener net.Listener) int32 {
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return int32(address.Port)
}

func newPods() *pods {
	return &pods{dial: (&net.Dialer{}).DialContext, timeout: 2 * time.Second, clock: clock.RealClock{}, clients: map[string]*podClient{}}
}

func TestAnAnswerIsHeldAgainstWhatWasExpected(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		expect compile.Expectation
		want   metav1.ConditionStatus
		reason string
	}{
		{"a protected route that answers 401 is enforced", 401, compile.ExpectRefused, metav1.ConditionTrue, ReasonAsExpected},
		{"a protected route that answers 403 is enforced", 403, compile.ExpectRefused, metav1.ConditionTrue, ReasonAsExpected},
		{"a protected route that reaches the probe entry is open", 418, compile.ExpectRefused, metav1.ConditionFalse, ReasonRouteOpen},
		{"a protected route that reaches an application is no better", 200, compile.ExpectRefused, metav1.ConditionFalse, ReasonReachedApplication},
		{"a protected route that is not there is not enforced", 404, compile.ExpectRefused, metav1.ConditionFalse, ReasonNotServed},
		{"a protected path that is malformed is not enforced", 400, compile.ExpectRefused, metav1.ConditionFalse, ReasonNotServed},
		{"an open route that reaches the probe entry is open", 418, compile.ExpectOpen, metav1.ConditionTrue, ReasonAsExpected},
		{"an open route that refuses is closed", 403, compile.ExpectOpen, metav1.ConditionFalse, ReasonRouteClosed},
		{"an open route that answers 200 lets probes through to applications", 200, compile.ExpectOpen, metav1.ConditionFalse, ReasonReachedApplication},
		{"a redirect is an answer, not a way to go", 308, compile.ExpectOpen, metav1.ConditionFalse, ReasonReachedApplication},
		{"an open route without a healthy gateway is not enforced", 503, compile.ExpectOpen, metav1.ConditionFalse, ReasonNotServed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example.com/")
				w.WriteHeader(test.status)
			})
			probe := g.probe()
			probe.Expect = test.expect
			got := newPods().ask(t.Context(), probe, "key", "127.0.0.1")
			if got.status != test.want || got.reason != test.reason {
				t.Errorf("got %+v, want %s %s", got, test.want, test.reason)
			}
			if got.status != metav1.ConditionTrue && !strings.Contains(got.message, "GET https://shop.example.com/api/v1") {
				t.Errorf("the message does not say what was asked: %q", got.message)
			}
			if n := len(g.got); n != 1 {
				t.Errorf("%d requests were sent, want 1", n)
			}
		})
	}
}

func TestAProbeIsARequestWithoutTokenOrBodyForItsHost(t *testing.T) {
	g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	probe := g.probe()
	probe.Method, probe.Path = http.MethodPost, "/shop.Cart/Add;v=1"
	newPods().ask(t.Context(), probe, "the-key", "127.0.0.1")
	r := <-g.got
	for what, pair := range map[string][2]string{
		"method": {r.Method, http.MethodPost},
		"host":   {r.Host, "shop.example.com"},
		"SNI":    {r.TLS.ServerName, "shop.example.com"},
		"path":   {r.URL.Path, "/shop.Cart/Add;v=1"},
		"key":    {r.Header.Get(Header), "the-key"},
		"token":  {r.Header.Get("Authorization"), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	if r.ContentLength != 0 {
		t.Errorf("a body of %d bytes was sent", r.ContentLength)
	}
}

func TestTheServedCertificateMustBeTheOneOfTheSecret(t *testing.T) {
	g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	probe := g.probe()
	probe.Fingerprint = strings.Repeat("0", 64)
	got := newPods().ask(t.Context(), probe, "key", "127.0.0.1")
	if got.status != metav1.ConditionFalse || got.reason != ReasonWrongCertificate {
		t.Errorf("got %+v, want WrongCertificate", got)
	}
}

func TestAPodThatCannotBeAskedLeavesThingsUnknown(t *testing.T) {
	// Not until the client has gone: what is written then may still be read.
	over := make(chan struct{})
	g := newGateway(t, func(http.ResponseWriter, *http.Request) { <-over })
	t.Cleanup(func() { close(over) })
	silent := newPods()
	silent.timeout = 50 * time.Millisecond
	if got := silent.ask(t.Context(), g.probe(), "key", "127.0.0.1"); got.status != metav1.ConditionUnknown || got.reason != ReasonUnreachable {
		t.Errorf("a pod that never answers: got %+v, want Unreachable", got)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	probe := g.probe()
	probe.Port = portOf(listener)
	_ = listener.Close()
	if got := newPods().ask(t.Context(), probe, "key", "127.0.0.1"); got.status != metav1.ConditionUnknown || got.reason != ReasonUnreachable {
		t.Errorf("a pod that does not listen: got %+v, want Unreachable", got)
	}
}

func TestAGatewayThatEndsTheHandshakeDoesNotServeTheHost(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	probe := compile.Probe{Host: "shop.example.com", Method: "GET", Path: "/", Port: portOf(listener)}
	if got := newPods().ask(t.Context(), probe, "key", "127.0.0.1"); got.status != metav1.ConditionFalse || got.reason != ReasonNotServed {
		t.Errorf("got %+v, want NotServed", got)
	}
}

func TestConnectionsAreUsedAgainAndDoNotGrowOld(t *testing.T) {
	g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	now := &settable{}
	p := newPods()
	p.clock = now
	for range 5 {
		p.ask(t.Context(), g.probe(), "key", "127.0.0.1")
	}
	if n := g.connections.Load(); n != 1 {
		t.Errorf("five probes took %d connections, want 1", n)
	}
	now.at = now.at.Add(connectionLife)
	p.ask(t.Context(), g.probe(), "key", "127.0.0.1")
	if n := g.connections.Load(); n != 2 {
		t.Errorf("after a connection's life there were %d, want 2", n)
	}
}

// settable is a clock that stands still.
type settable struct{ at time.Time }

func (s *settable) Now() time.Time                  { return s.at }
func (s *settable) Since(t time.Time) time.Duration { return s.at.Sub(t) }

func TestTheWorstPodDecides(t *testing.T) {
	open := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	p := newPods()
	// The second pod is at another address with the same port.
	p.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "192.0.2.1:") {
			return nil, &net.OpError{Op: "dial", Err: net.UnknownNetworkError("down")}
		}
		return (&net.Dialer{}).DialContext(ctx, network, open.Listener.Addr().String())
	}
	probe := open.probe()
	probe.Expect = compile.ExpectOpen
	if got := p.askAll(t.Context(), probe, "key", []string{"127.0.0.1", "192.0.2.1"}); got.status != metav1.ConditionUnknown {
		t.Errorf("one pod is right and one cannot be asked: got %+v, want Unknown", got)
	}
	probe.Expect = compile.ExpectRefused
	if got := p.askAll(t.Context(), probe, "key", []string{"192.0.2.1", "127.0.0.1"}); got.reason != ReasonRouteOpen {
		t.Errorf("one pod cannot be asked and one is open: got %+v, want RouteOpen", got)
	}
	if got := p.askAll(t.Context(), probe, "key", nil); got.reason != ReasonNoGateway {
		t.Errorf("no pod: got %+v, want NoGateway", got)
	}
}
