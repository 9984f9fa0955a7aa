// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package metricstore runs a real store of metrics on loopback for tests, empty at first,
// and writes samples of any time into it.
package metricstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/tool"
)

// Kind is which store it is.
type Kind string

// The kinds. Both are built by the modules below tools.
const (
	Prometheus      Kind = "prometheus"
	VictoriaMetrics Kind = "victoria-metrics"
)

// Kinds are all.
var Kinds = []Kind{Prometheus, VictoriaMetrics}

// Store is a running store. It ends with the test.
type Store struct {
	// URL is the part before /api/v1.
	URL string

	kind  Kind
	ended chan struct{}
	log   string
}

// Start runs a store whose program is in a directory of tools, or ends the test.
func Start(t testing.TB, kind Kind) *Store {
	t.Helper()
	return start(t, kind, kind.arguments)
}

// StartScraping runs a Prometheus that asks targets, each HOST:PORT, for their metrics every
// half second, and evaluates a file of rules as often. It ends with the test.
func StartScraping(t testing.TB, rules string, targets ...string) *Store {
	t.Helper()
	rules, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, Prometheus, func(dir, address string) ([]string, error) {
		file := filepath.Join(dir, "prometheus.yml")
		text := fmt.Sprintf("global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files: [%q]\n"+
			"scrape_configs:\n- job_name: trellis\n  honor_labels: true\n  static_configs: [{targets: [%s]}]\n", rules, strings.Join(targets, ", "))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("configuring %s: %w", Prometheus, err)
		}
		return []string{"--config.file=" + file, "--web.listen-address=" + address, "--storage.tsdb.path=" + filepath.Join(dir, "data")}, nil
	})
}

// start runs a store with what it is told on the command line.
func start(t testing.TB, kind Kind, configure func(dir, address string) ([]string, error)) *Store {
	t.Helper()
	program, err := tool.Find(string(kind), "stores")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	s := &Store{URL: "http://" + address, kind: kind, ended: make(chan struct{}), log: filepath.Join(dir, "log")}
	arguments, err := configure(dir, address)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatalf("making the log of %s: %v", kind, err)
	}
	command := exec.Command(program, arguments...)
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The program ends with the thread that started it, so that one waits for it.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
		close(s.ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", kind, err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-s.ended
		_ = log.Close()
	})
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// arguments let samples of any age in, in any order.
func (k Kind) arguments(dir, address string) ([]string, error) {
	data := filepath.Join(dir, "data")
	if k == VictoriaMetrics {
		return []string{
			"-httpListenAddr=" + address, "-storageDataPath=" + data, "-retentionPeriod=100y",
			"-memory.allowedBytes=1GB", "-loggerLevel=WARN",
		}, nil
	}
	file := filepath.Join(dir, "prometheus.yml")
	const text = "storage:\n  tsdb:\n    out_of_order_time_window: 10000h\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", k, err)
	}
	return []string{
		"--config.file=" + file, "--web.listen-address=" + address, "--storage.tsdb.path=" + data,
		"--storage.tsdb.retention.time=100y", "--web.enable-remote-write-receiver",
	}, nil
}

// ready waits until it answers.
func (s *Store) ready(ctx context.Context) error {
	path := "/-/ready"
	if s.kind == VictoriaMetrics {
		path = "/health"
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.send(ctx, http.MethodGet, path, nil)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("starting %s: it has ended:\n%s", s.kind, s.said())
		case <-ctx.Done():
			return fmt.Errorf("starting %s: %w:\n%s", s.kind, err, s.said())
		case <-tick.C:
		}
	}
}

func (s *Store) said() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// Write writes samples, which can be read when it returns, or ends the test.
func (s *Store) Write(t testing.TB, series ...Series) {
	t.Helper()
	for len(series) > 0 {
		n := min(len(series), 10_000)
		if err := s.send(t.Context(), http.MethodPost, "/api/v1/write", encode(series[:n])); err != nil {
			t.Fatalf("writing to %s: %v\n%s", s.kind, err, s.said())
		}
		series = series[n:]
	}
	s.Flush(t)
}

// Flush lets what others have written be read when it returns, or ends the test.
func (s *Store) Flush(t testing.TB) {
	t.Helper()
	if s.kind != VictoriaMetrics {
		return
	}
	if err := s.send(t.Context(), http.MethodGet, "/internal/force_flush", nil); err != nil {
		t.Fatalf("writing to %s: %v", s.kind, err)
	}
}

func (s *Store) send(ctx context.Context, method, path string, content []byte) error {
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/x-protobuf")
		request.Header.Set("Content-Encoding", "snappy")
		request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return nil
}
