// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

var pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod-0"}}

// echo answers what it gets, as the pod.
func echo(t *testing.T) string {
	t.Helper()
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
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// kubelet stands for the API server and the kubelet behind it, which speak SPDY and
// no WebSocket here, as old ones do: no kubelet runs without containers.
type kubelet struct {
	target string
	asked  chan string
}

func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case k.asked <- r.URL.Path:
	default:
	}
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	streams := make(chan httpstream.Stream, 16)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	for {
		select {
		case <-conn.CloseChan():
			return
		case s := <-streams:
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeData {
				go k.lead(s)
			} else {
				_ = s.Close()
			}
		}
	}
}

func (k *kubelet) lead(s httpstream.Stream) {
	to, err := net.Dial("tcp", k.target)
	if err != nil {
		_ = s.Reset()
		return
	}
	go func() {
		_, _ = io.Copy(to, s)
		_ = to.Close()
	}()
	_, _ = io.Copy(s, to)
	_ = s.Close()
}

func TestAForwardedPortLeadsToThePod(t *testing.T) {
	k := &kubelet{target: echo(t), asked: make(chan string, 1)}
	server := httptest.NewServer(k)
	defer server.Close()
	a := &api{config: &rest.Config{Host: server.URL + "/prefix"}}
	f, err := a.forward(t.Context(), pod, 15012)
	if err != nil {
		t.Fatal(err)
	}
	if at := <-k.asked; at != "/prefix/api/v1/namespaces/istio-system/pods/istiod-0/portforward" {
		t.Errorf("asked for %s", at)
	}
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello" {
		t.Errorf("%q, %v", answer, err)
	}
	_ = conn.Close()
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", f.address); err == nil {
		_ = conn.Close()
		t.Error("the port is open after the end")
	}
}

func TestAPortThatMayNotBeForwardedSaysWhichRightIsMissing(t *testing.T) {
	for _, c := range []struct {
		status int
		says   string
		right  bool
	}{
		{http.StatusForbidden, "you may not create pods/portforward in namespace istio-system", true},
		{http.StatusInternalServerError, "see whether the API server reaches the pod's machine", false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, http.StatusText(c.status), c.status) }))
		a := &api{config: &rest.Config{Host: server.URL}}
		_, err := a.forward(t.Context(), pod, 15012)
		server.Close()
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "--istiod") || errors.Is(err, errMayNot) != c.right {
			t.Errorf("%d: %v", c.status, err)
		}
	}
}

func TestForwardingEndsWithItsContext(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &api{config: &rest.Config{Host: hanging.URL}}
	if _, err := a.forward(ctx, pod, 15012); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	hanging.CloseClientConnections()
}
