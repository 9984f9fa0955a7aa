// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// snapshotOf has gateway pods at the given addresses.
func snapshotOf(addresses ...string) *model.Snapshot {
	in := model.Input{Mesh: model.DefaultMesh(), ProbeKey: "key"}
	for i, address := range addresses {
		in.Workloads = append(in.Workloads, model.Workload{
			Ref:    model.Reference{Kind: "Pod", Namespace: "istio-ingress", Name: fmt.Sprint("gateway-", i)},
			Labels: map[string]string{"istio": "gateway"}, Address: address, Ready: true,
		})
	}
	return model.NewSnapshot(in)
}

func owner(name string) model.Reference {
	return model.Reference{Kind: "Application", Namespace: "shop", Name: name}
}

func probeOf(route string) compile.Probe {
	return compile.Probe{
		Application: owner("a"), Route: route, Host: "shop.example.com", Method: "GET", Path: "/" + route,
		Gateway: compile.WorkloadSelector{Namespace: "istio-ingress", Selector: map[string]string{"istio": "gateway"}},
	}
}

func TestAProbeThatSeveralOwnersAskForIsSentOnce(t *testing.T) {
	s := newSchedule(10 * time.Second)
	s.follow(snapshotOf("192.0.2.1"), []controller.ProbeTarget{
		{Owner: owner("a"), Probes: []compile.Probe{probeOf("x")}},
		{Owner: owner("b"), Probes: []compile.Probe{probeOf("x")}},
	}, start)
	only, _ := s.next(start)
	if second, _ := s.next(start); only == nil || second != nil || len(only.owners) != 2 {
		t.Errorf("first %+v, second %+v: want one probe for two owners", only, second)
	}
}

func TestWhatNobodyHasAnAnswerForComesFirst(t *testing.T) {
	s := newSchedule(10 * time.Second)
	targets := func(routes ...string) []controller.ProbeTarget {
		target := controller.ProbeTarget{Owner: owner("a")}
		for _, route := range routes {
			target.Probes = append(target.Probes, probeOf(route))
		}
		return []controller.ProbeTarget{target}
	}
	s.follow(snapshotOf("192.0.2.1"), targets("old"), start)
	old, _ := s.next(start)
	s.done(old, true, start)
	later := start.Add(time.Minute)
	s.follow(snapshotOf("192.0.2.1"), targets("old", "new"), later)
	if first, _ := s.next(later); first.probe.Route != "new" {
		t.Errorf("%q is sent before what is new", first.probe.Route)
	}
	s.follow(snapshotOf("192.0.2.1", "192.0.2.2"), targets("old"), later)
	if first, _ := s.next(later); first == nil || len(first.pods) != 2 {
		t.Errorf("a new pod is not asked at once: %+v", first)
	}
}

func TestWhatFailsIsSentAgainSoonAndThenLessOften(t *testing.T) {
	s := newSchedule(10 * time.Second)
	s.follow(snapshotOf("192.0.2.1"), []controller.ProbeTarget{{Owner: owner("a"), Probes: []compile.Probe{probeOf("x")}}}, start)
	now := start
	for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		sent, _ := s.next(now)
		if sent == nil {
			t.Fatalf("failure %d: nothing is due at %s", i, now)
		}
		s.done(sent, false, now)
		_, due := s.next(now)
		if got := due.Sub(now); got != want {
			t.Errorf("after failure %d the probe is sent again in %s, want %s", i+1, got, want)
		}
		now = due
	}
	sent, _ := s.next(now)
	s.done(sent, true, now)
	if _, due := s.next(now); due.Sub(now) != 10*time.Second {
		t.Errorf("after a success it is sent again in %s", due.Sub(now))
	}
}

func TestAProbeThatIsNoLongerFollowedIsNotSent(t *testing.T) {
	s := newSchedule(10 * time.Second)
	both := []controller.ProbeTarget{{Owner: owner("a"), Probes: []compile.Probe{probeOf("x"), probeOf("y")}}}
	s.follow(snapshotOf("192.0.2.1"), both, start)
	onItsWay, _ := s.next(start)
	s.follow(snapshotOf("192.0.2.1"), nil, start)
	s.done(onItsWay, true, start)
	if next, due := s.next(start.Add(time.Hour)); next != nil || !due.IsZero() {
		t.Errorf("still sends %+v, or will at %s", next, due)
	}
}

func TestRequestsKeepWithinTheRate(t *testing.T) {
	for waited, want := range map[bool]int{false: 1000, true: 1000 * hurry} {
		p := pace{gap: 10 * time.Millisecond}
		now, sent := start, 0
		for end := start.Add(10 * time.Second); now.Before(end); {
			if ready := p.ready(); ready.After(now) {
				now = ready
				continue
			}
			p.spend(now, 1, waited)
			sent++
		}
		if sent > want+burst*hurry+1 || sent < want {
			t.Errorf("somebody waits: %t: %d requests in ten seconds, want about %d", waited, sent, want)
		}
	}
}

func TestSomebodyWaitsForWhatChangedUntilItIsGood(t *testing.T) {
	s := newSchedule(10 * time.Second)
	s.follow(snapshotOf("192.0.2.1"), []controller.ProbeTarget{{Owner: owner("a"), Probes: []compile.Probe{probeOf("x")}}}, start)
	sent, _ := s.next(start)
	s.done(sent, false, start)
	if !start.Before(sent.waited) {
		t.Error("nobody waits after the first failure")
	}
	_, due := s.next(start)
	sent, _ = s.next(due)
	s.done(sent, true, due)
	if due.Before(sent.waited) {
		t.Error("somebody still waits after a good answer")
	}
}

// book collects results.
type book struct {
	mu      sync.Mutex
	results []controller.ProbeResult
	arrived chan struct{}
}

func (b *book) report(results []controller.ProbeResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results = append(b.results, results...)
	for range results {
		b.arrived <- struct{}{}
	}
}

func TestEveryProbeIsSentAgainEveryInterval(t *testing.T) {
	g := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	now := clocktesting.NewFakeClock(start)
	prober := New(Config{
		Clock: now,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, g.Listener.Addr().String())
		},
	})
	b := &book{arrived: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- prober.Run(ctx, b.report) }()

	probe := g.probe()
	probe.Gateway = probeOf("x").Gateway
	prober.Follow(snapshotOf("127.0.0.1"), []controller.ProbeTarget{{Owner: owner("a"), Probes: []compile.Probe{probe}}})
	for round := range 3 {
		select {
		case <-b.arrived:
		case <-time.After(10 * time.Second):
			t.Fatalf("round %d: no result", round)
		}
		for !now.HasWaiters() { // until the prober waits for the clock
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
		}
		now.Step(10 * time.Second)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range b.results[:3] {
		if r.Status != metav1.ConditionTrue || r.Owner != owner("a") || !r.At.Equal(start.Add(time.Duration(i)*10*time.Second)) {
			t.Errorf("result %d is %+v", i, r)
		}
	}
}
