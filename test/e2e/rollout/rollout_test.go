// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/stack"
)

// load is requests of one client to one server at an even rate, until it is stopped.
type load struct {
	stop func()

	mu sync.Mutex
	// sent and failed are counts, and failures the first few.
	sent, failed int
	failures     []string
	// firstFailed and mended are when the first request failed, and when the first one
	// after it went well.
	firstFailed, mended time.Time
}

// begin sends a request every interval, each when the one before has ended.
func (m *mesh) begin(interval time.Duration, send func(context.Context) (*stack.Response, error)) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l, done := &load{}, make(chan struct{})
	l.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	m.t.Cleanup(l.stop)
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				answer, err := send(ctx)
				if ctx.Err() != nil {
					return
				}
				l.count(answer, err)
			}
		}
	}()
	return l
}

func (l *load) count(answer *stack.Response, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err == nil && answer.Status == 200 {
		if !l.firstFailed.IsZero() && l.mended.IsZero() {
			l.mended = time.Now()
		}
		return
	}
	l.failed++
	if l.firstFailed.IsZero() {
		l.firstFailed = time.Now()
	}
	if err == nil {
		err = fmt.Errorf("it got %d: %s %v", answer.Status, answer.Body, answer.Header)
	}
	if len(l.failures) < 3 {
		l.failures = append(l.failures, err.Error())
	}
}

// so is how it went so far.
func (l *load) so() (sent, failed int, failures []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.failed, l.failures
}

// between is load of a client with a proxy.
func (m *mesh) between(from, to *stack.Application, interval time.Duration) *load {
	return m.begin(interval, func(ctx context.Context) (*stack.Response, error) {
		return from.Do(ctx, stack.Request{Host: to.Host(9080), Path: "/" + to.Name})
	})
}

// past is load in plaintext, of a client without a proxy.
func (m *mesh) past(from, to *stack.Application, interval time.Duration) *load {
	return m.begin(interval, func(ctx context.Context) (*stack.Response, error) {
		return from.DoPast(ctx, to.PortAddress("http"), stack.Request{Host: to.Host(9080), Path: "/" + to.Name})
	})
}

// outage is how long requests failed in a row; zero while they do.
func (l *load) outage() (failed int, outage time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mended.IsZero() {
		return l.failed, 0
	}
	return l.failed, l.mended.Sub(l.firstFailed)
}

func TestAMeshComesToTakeMutualTLSOnly(t *testing.T) {
	m := begin(t)
	job := m.application("legacy", "job")
	t.Run("ten applications under load lose no request", func(t *testing.T) { tenApplications(t, m) })
	t.Run("a plaintext client stops it and is named", func(t *testing.T) { plaintextClient(t, m, job) })
	t.Run("a client that appears in between makes it step back", func(t *testing.T) { laterClient(t, m, job) })
	t.Run("a server that is started anew does not begin a window anew", func(t *testing.T) { anotherServer(t, m) })
}

// short is a window in which nobody has to wait long.
const short = 5 * time.Second

// tenApplications call each other in a row, the first one all of them.
func tenApplications(t *testing.T, m *mesh) {
	var all []*stack.Application
	for i := range 10 {
		all = append(all, m.application("shop", fmt.Sprintf("shop-%d", i)))
	}
	var loads []*load
	for i := 1; i < len(all); i++ {
		loads = append(loads, m.between(all[i-1], all[i], 200*time.Millisecond), m.between(all[0], all[i], 200*time.Millisecond))
	}
	loads = append(loads, m.between(all[9], all[0], 200*time.Millisecond))
	began := time.Now()
	m.rollout("shop", short, 3*time.Second)
	status := m.becomes("shop", v1alpha1.RolloutComplete, 5*time.Minute)
	took := time.Since(began)
	total := 0
	for i, l := range loads {
		l.stop()
		sent, failed, failures := l.so()
		total += sent
		if failed > 0 || sent < 20 {
			t.Errorf("of load %d %d of %d requests failed: %q", i, failed, sent, failures)
		}
	}
	t.Logf("10 stages in %s; %d requests, none failed", took.Round(time.Second), total)
	if status.Done != "10/10" {
		t.Error(told(status))
	}
	for _, a := range all {
		if got := m.mode("shop", "trellis-rollout-"+a.Name); got != "STRICT" {
			t.Errorf("%s is %q", a.Name, got)
		}
		if answer, err := a.DoPast(t.Context(), all[0].PortAddress("http"), stack.Request{Host: all[0].Host(9080)}); err == nil {
			t.Errorf("plaintext to %s gets %d", all[0].Name, answer.Status)
		}
	}
}

// plaintextClient: of two applications one is called in plaintext.
func plaintextClient(t *testing.T, m *mesh, job *stack.Application) {
	books, audit := m.application("ledger", "books"), m.application("ledger", "audit")
	steady, legacy := m.between(audit, books, 200*time.Millisecond), m.past(job, books, 500*time.Millisecond)
	back := m.between(books, audit, 200*time.Millisecond)
	m.rollout("ledger", short, 3*time.Second)
	m.until("one of two stages to be done, and the other blocked", 2*time.Minute, func(context.Context) error {
		if s := m.status("ledger"); s.Phase != v1alpha1.RolloutBlocked || s.Done != "1/2" {
			return fmt.Errorf("it is %s", told(s))
		}
		return nil
	})
	status := m.status("ledger")
	if len(status.Stages) != 2 || m.mode("ledger", "trellis-rollout-audit") != "STRICT" || m.mode("ledger", "trellis-rollout-books") != "" {
		t.Fatal(told(status))
	}
	stage := status.Stages[slices.IndexFunc(status.Stages, func(s v1alpha1.RolloutStage) bool { return s.Name == "ledger/books" })]
	if len(stage.Blocks) != 1 || stage.Blocks[0].Client != "legacy/job" || stage.Blocks[0].Reason != v1alpha1.BlockPlaintextSeen || stage.Blocks[0].Count == 0 {
		t.Error(told(status))
	}
	legacy.stop()
	m.becomes("ledger", v1alpha1.RolloutComplete, 2*time.Minute)
	for _, l := range []*load{steady, legacy, back} {
		l.stop()
		if sent, failed, failures := l.so(); failed > 0 {
			t.Errorf("%d of %d requests failed: %q", failed, sent, failures)
		}
	}
}

// laterClient: nobody has called in plaintext before the stage was made.
func laterClient(t *testing.T, m *mesh, job *stack.Application) {
	const interval, bar = 200 * time.Millisecond, 30 * time.Second
	vault, teller := m.application("bank", "vault"), m.application("front", "teller")
	steady := m.between(teller, vault, interval)
	m.rollout("bank", short, time.Hour)
	m.until("the vault to be watched", 2*time.Minute, func(context.Context) error {
		if s := m.status("bank"); s.Phase != v1alpha1.RolloutWatching || m.mode("bank", "trellis-rollout-vault") != "STRICT" {
			return fmt.Errorf("it is %s", told(s))
		}
		return nil
	})
	late := m.past(job, vault, interval)
	status := m.becomes("bank", v1alpha1.RolloutSteppedBack, time.Minute)
	m.until("the late client to get on", time.Minute, func(context.Context) error {
		if _, since := late.outage(); since == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	_, failed, _ := late.so()
	_, outage := late.outage()
	t.Logf("the client failed %d times, for %s", failed, outage.Round(10*time.Millisecond))
	if outage > bar {
		t.Errorf("it took %s to step back", outage)
	}
	if m.mode("bank", "trellis-rollout-vault") != "" || len(status.Stages) != 1 || len(status.Stages[0].Blocks) != 1 {
		t.Fatal(told(status))
	}
	if b := status.Stages[0].Blocks[0]; b.Client != "legacy/job" || b.Reason != v1alpha1.BlockFailed {
		t.Error(told(status))
	}
	m.until("all failed requests to be counted", time.Minute, func(context.Context) error {
		if got := m.status("bank").Stages[0].FailedRequests; got != int64(failed) {
			return fmt.Errorf("%d of %d are", got, failed)
		}
		return nil
	})
	late.stop()

	// It stays there for longer than its window, and goes on when somebody says so.
	m.stays("bank", v1alpha1.RolloutSteppedBack, 8*time.Second)
	must(t, m.annotate("bank", v1alpha1.RetryAnnotation, "the job is gone"))
	m.becomes("bank", v1alpha1.RolloutWatching, time.Minute)
	steady.stop()
	if sent, failed, failures := steady.so(); failed > 0 {
		t.Errorf("%d of %d requests with mutual TLS failed: %q", failed, sent, failures)
	}
}

// anotherServer: in the middle of the window trellis-server ends, and another one begins.
func anotherServer(t *testing.T, m *mesh) {
	const window = 40 * time.Second
	keeper, guest := m.application("inn", "keeper"), m.application("road", "guest")
	steady := m.between(guest, keeper, 200*time.Millisecond)
	began := time.Now().Truncate(time.Second)
	m.rollout("inn", window, 3*time.Second)
	m.becomes("inn", v1alpha1.RolloutWaiting, 10*time.Second)
	m.stays("inn", v1alpha1.RolloutWaiting, window/2)
	ended := time.Now()
	m.stop()
	m.stays("inn", v1alpha1.RolloutWaiting, 4*time.Second)
	m.serve(t.Context())
	status := m.becomes("inn", v1alpha1.RolloutWatching, 2*time.Minute)
	made := status.Stages[0].MadeAt.Time
	t.Logf("the server was away after %s, and the stage was made after %s", ended.Sub(began).Round(time.Second), made.Sub(began))
	if made.Before(began.Add(window)) || !made.Before(ended.Add(window)) {
		t.Errorf("it began at %s, and the server ended at %s: %s", began, ended, told(status))
	}
	m.becomes("inn", v1alpha1.RolloutComplete, time.Minute)
	steady.stop()
	if sent, failed, failures := steady.so(); failed > 0 {
		t.Errorf("%d of %d requests failed: %q", failed, sent, failures)
	}
}
