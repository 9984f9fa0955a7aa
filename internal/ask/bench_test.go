// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask_test

import (
	"flag"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/test/fleet"
)

// moment is when tokens of the questions are looked at.
var moment = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// open reads files and gives a World to be asked.
func open(t testing.TB, files ...string) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Open(t.Context(), &source.Options{Files: files}, nil, moment)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// platform writes a platform with so many services into a folder.
func platform(t testing.TB, applications int) string {
	t.Helper()
	return platformOf(t, fleet.Options{Applications: applications, Routes: 4, Ingresses: 10})
}

func platformOf(t testing.TB, o fleet.Options) string {
	t.Helper()
	objects, err := fleet.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := fleet.WriteFile(filepath.Join(folder, "all.json"), objects); err != nil {
		t.Fatal(err)
	}
	return folder
}

// BenchmarkExposed asks what the internet can reach of 1,000 services: the first
// time, with what the proxies are sent, and again.
func BenchmarkExposed(b *testing.B) {
	folder := platform(b, *services)
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			m := open(b, folder)
			b.StartTimer()
			if got := len(m.Exposed().Exposures); got < *services {
				b.Fatalf("%d exposures", got)
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		m := open(b, folder)
		m.Exposed()
		for b.Loop() {
			m.Exposed()
		}
	})
}

// BenchmarkWho asks who can reach one of 1,000 services.
func BenchmarkWho(b *testing.B) {
	m := open(b, platform(b, *services))
	target := ask.Target{Workload: ask.WorkloadRef{Namespace: "team-0001", Name: "app-00010"}}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			fresh := &ask.World{
				Evaluator: m.Evaluator, Proxies: m.Proxies, Servers: m.Servers, Nodes: m.Nodes, Directory: m.Directory, Origins: m.Origins, At: m.At,
			}
			if _, err := fresh.Who(target); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		if _, err := m.Who(target); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := m.Who(target); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var services = flag.Int("services", 1000, "how many services the platform of the benchmarks has")

// BenchmarkDecide follows one request from the internet through a gateway with 1,000
// routes and the application's own proxy: the decision, with all its steps, and the
// answer to a person, with the statements behind it.
func BenchmarkDecide(b *testing.B) {
	m := open(b, platformOf(b, fleet.Options{Applications: 250, Routes: 4, Ingresses: 1}))
	u, err := url.Parse("https://app-00249-0.i00.example.com/api/v3/items")
	if err != nil {
		b.Fatal(err)
	}
	claims, err := structpb.NewStruct(map[string]any{"iss": "https://login.example.com", "sub": "somebody", "aud": "shop"})
	if err != nil {
		b.Fatal(err)
	}
	question := &ask.Request{URL: u, Claims: claims}
	first, err := m.Can(question)
	if err != nil {
		b.Fatal(err)
	}
	port, _ := first.Entrance.Port(443)
	request := &hcm.Request{Method: "GET", Target: u.Path, Headers: stream.Raw(
		stream.Header{Name: "host", Value: u.Host}, stream.Header{Name: "authorization", Value: "Bearer one"})}
	asked := &decide.Question{
		From: decide.Source{Address: netip.MustParseAddrPort("203.0.113.10:40000")},
		To:   netip.AddrPortFrom(first.Entrance.Endpoints[0], port.Target), At: moment, Request: request,
		TLS:    &stream.TLS{ServerName: u.Host, Offered: []string{"http/1.1"}},
		Tokens: map[string]*stream.Token{"one": {Claims: claims}},
	}
	b.Run("decision", func(b *testing.B) {
		for b.Loop() {
			if v := m.Evaluator.Decide(asked); v.Outcome != decide.Allow || len(v.Steps) != len(first.Steps) {
				b.Fatalf("%+v", v)
			}
		}
	})
	b.Run("answer", func(b *testing.B) {
		for b.Loop() {
			answer, err := m.Can(question)
			if err != nil || answer.Outcome != decide.Allow {
				b.Fatalf("%+v, %v", answer, err)
			}
		}
	})
}
