// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// replica answers every question in one way, and keeps the last one.
func replica(t *testing.T, status int, answer any) (Replica, *x509.Certificate, func() string) {
	t.Helper()
	asked := make(chan string, 16)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + " " + r.URL.Query().Get(traffic.From) + " " + r.Header.Get("Authorization")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return Replica{Name: "trellis-server-" + strings.TrimPrefix(server.URL, "https://127.0.0.1:"), Address: strings.TrimPrefix(server.URL, "https://")}, server.Certificate(), func() string { return <-asked }
}

func asking(certificate *x509.Certificate, replicas ...Replica) *TrafficClient {
	roots := x509.NewCertPool()
	if certificate != nil {
		roots.AddCert(certificate)
	}
	return &TrafficClient{
		Config: ClientConfig{
			ServerName: "example.com", Roots: func() (*x509.CertPool, error) { return roots, nil },
			Token: func(context.Context) (string, error) { return "secret", nil },
		},
		Replicas: func(context.Context) ([]Replica, error) { return replicas, nil },
	}
}

func TestEveryReplicaIsAskedAndWhatTheySawIsPutTogether(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	part := func(n uint64) traffic.Seen {
		return traffic.Seen{From: at, To: at.Add(time.Minute), Lost: n, Edges: []traffic.Edge{{Client: "shop/web", Services: []string{"shop/cart"}, Requests: n}}}
	}
	a, certificate, askedA := replica(t, http.StatusOK, part(1))
	b, _, askedB := replica(t, http.StatusOK, part(2))
	got, err := asking(certificate, a, b).Seen(t.Context(), at)
	if err != nil || got.Lost != 3 || len(got.Edges) != 1 || got.Edges[0].Requests != 3 || !got.From.Equal(at) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, asked := range []string{askedA(), askedB()} {
		if asked != "/v1/traffic 2026-01-02T03:04:05.6Z Bearer secret" {
			t.Errorf("it was asked %s", asked)
		}
	}
}

func TestAReplicaThatDoesNotAnswerIsAnErrorThatNamesIt(t *testing.T) {
	good, certificate, _ := replica(t, http.StatusOK, traffic.Seen{From: time.Now(), To: time.Now()})
	without, _, _ := replica(t, http.StatusNotFound, nil)
	refusing, _, _ := replica(t, http.StatusForbidden, "somebody may not ask")
	empty, _, _ := replica(t, http.StatusOK, map[string]string{})
	at := time.Now()
	twisted, _, _ := replica(t, http.StatusOK, traffic.Seen{Before: []traffic.Interval{{From: at, To: at.Add(time.Hour)}}, From: at, To: at.Add(time.Hour)})
	odd, _, _ := replica(t, http.StatusOK, []string{})
	for name, c := range map[string]struct {
		replica Replica
		says    string
	}{
		"gone":                {Replica{Name: "trellis-server-gone", Address: "127.0.0.1:1"}, "connection refused"},
		"without a collector": {without, "server.collector.enabled"},
		"refusing":            {refusing, "somebody may not ask"},
		"saying nothing":      {empty, "does not say of what time"},
		"contradicting":       {twisted, "contradict each other"},
		"saying else":         {odd, "reading what trellis-server has seen"},
		"without an address":  {Replica{Name: "trellis-server-x"}, "reading its address"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := asking(certificate, good, c.replica).Seen(t.Context(), time.Now())
			if err == nil || !strings.Contains(err.Error(), c.replica.Name) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWithoutReplicasNothingIsKnown(t *testing.T) {
	if _, err := asking(nil).Seen(t.Context(), time.Now()); err == nil {
		t.Error("nobody was asked, and there is an answer")
	}
	c, broken := asking(nil), errors.New("broken")
	c.Replicas = func(context.Context) ([]Replica, error) { return nil, broken }
	if _, err := c.Seen(t.Context(), time.Now()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
