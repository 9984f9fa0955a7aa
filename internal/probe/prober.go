// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"net"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Config is what a Prober is made from. Zero values stand for the defaults.
type Config struct {
	// Interval is how often every probe is sent; default ten seconds. It gets
	// longer when Rate does not allow it.
	Interval time.Duration
	// Rate is how many requests a second may be sent in all; default 100. For
	// fifteen seconds after a change, what changed may take five times as many.
	Rate float64
	// Concurrency is how many probes may be on their way; default 32.
	Concurrency int
	// Timeout is how long a pod may take to answer; default three seconds.
	Timeout time.Duration
	// Dial makes connections; default net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Clock decides when probes are sent; default the real one. Timeouts of
	// connections are always real.
	Clock clock.Clock
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second
	}
	if c.Rate <= 0 {
		c.Rate = 100
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 32
	}
	if c.Timeout <= 0 {
		c.Timeout = 3 * time.Second
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return c
}

// Prober implements controller.Prober.
type Prober struct {
	config Config
	wake   chan struct{}

	mu       sync.Mutex
	followed *followed
}

type followed struct {
	snapshot *model.Snapshot
	targets  []controller.ProbeTarget
}

var _ controller.Prober = (*Prober)(nil)

// New makes a Prober that probes nothing yet.
func New(config Config) *Prober {
	return &Prober{config: config.withDefaults(), wake: make(chan struct{}, 1)}
}

// Follow implements controller.Prober.
func (p *Prober) Follow(snapshot *model.Snapshot, targets []controller.ProbeTarget) {
	p.mu.Lock()
	p.followed = &followed{snapshot, targets}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Prober) take() *followed {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.followed
	p.followed = nil
	return f
}

// result is what became of one task.
type result struct {
	task  *task
	probe compile.Probe
	owner []model.Reference
	seen  seen
	at    time.Time
}

// Run implements controller.Prober. It returns only when ctx ends, and then
// waits for the requests that are on their way.
func (p *Prober) Run(ctx context.Context, report func([]controller.ProbeResult)) error {
	r := &run{
		config:   p.config,
		schedule: newSchedule(p.config.Interval),
		pace:     pace{gap: time.Duration(float64(time.Second) / p.config.Rate)},
		pods:     &pods{dial: p.config.Dial, timeout: p.config.Timeout, clock: p.config.Clock, clients: map[string]*podClient{}},
		results:  make(chan result, p.config.Concurrency),
	}
	for ctx.Err() == nil {
		if f := p.take(); f != nil {
			r.key = f.snapshot.ProbeKey()
			r.schedule.follow(f.snapshot, f.targets, p.config.Clock.Now())
			r.pods.forget(r.alive())
		}
		if until := r.send(ctx); until != nil {
			r.wait(ctx, *until, p.wake, report)
		}
	}
	for range r.sending {
		<-r.results
	}
	r.pods.forget(nil)
	return nil
}

// run is the state of one Run; only its goroutine touches it, but for pods.
type run struct {
	config   Config
	schedule *schedule
	pace     pace
	pods     *pods
	key      string
	sending  int
	results  chan result
}

// send sends the next probe that is due and returns nil; otherwise it returns
// until when there is nothing to send, zero for as long as nothing happens.
func (r *run) send(ctx context.Context) *time.Time {
	forever := time.Time{}
	if r.sending >= r.config.Concurrency {
		return &forever
	}
	now := r.config.Clock.Now()
	if ready := r.pace.ready(); ready.After(now) {
		return &ready
	}
	t, due := r.schedule.next(now)
	if t == nil {
		return &due
	}
	r.pace.spend(now, max(1, len(t.pods)), now.Before(t.waited))
	r.sending++
	// The task's own fields may change while it is being sent. A result is as old
	// as its request: what changed since is not in it.
	job := result{task: t, probe: t.probe, owner: t.owners, at: now}
	addresses, key := t.pods, r.key
	go func() {
		job.seen = r.pods.askAll(ctx, job.probe, key, addresses)
		r.results <- job
	}()
	return nil
}

// wait reports results as they come, until there may be something to send.
func (r *run) wait(ctx context.Context, until time.Time, wake <-chan struct{}, report func([]controller.ProbeResult)) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := r.config.Clock.NewTimer(until.Sub(r.config.Clock.Now()))
		defer timer.Stop()
		alarm = timer.C()
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-alarm:
	case first := <-r.results:
		report(r.collect(first))
	}
}

// collect takes all results that are there.
func (r *run) collect(first result) []controller.ProbeResult {
	out := r.finish(nil, first)
	for {
		select {
		case next := <-r.results:
			out = r.finish(out, next)
		default:
			return out
		}
	}
}

func (r *run) finish(out []controller.ProbeResult, done result) []controller.ProbeResult {
	r.sending--
	r.schedule.done(done.task, done.seen.status == metav1.ConditionTrue, r.config.Clock.Now())
	for _, owner := range done.owner {
		out = append(out, controller.ProbeResult{
			Owner: owner, Probe: done.probe, At: done.at,
			Status: done.seen.status, Reason: done.seen.reason, Message: done.seen.message,
		})
	}
	return out
}

func (r *run) alive() map[string]bool {
	alive := map[string]bool{}
	for _, t := range r.schedule.tasks {
		for _, pod := range t.pods {
			alive[podAddress(pod, t.probe.Port)] = true
		}
	}
	return alive
}

// askAll asks every pod and returns the worst that was seen.
func (p *pods) askAll(ctx context.Context, probe compile.Probe, key string, addresses []string) seen {
	if len(addresses) == 0 {
		return seen{metav1.ConditionUnknown, ReasonNoGateway, "The gateway has no ready pod, so nothing can be seen of " + describe(probe) + "."}
	}
	worst := seen{metav1.ConditionTrue, ReasonAsExpected, ""}
	for _, address := range addresses {
		if s := p.ask(ctx, probe, key, address); s.worse(worst) {
			worst = s
		}
	}
	return worst
}

// pace spaces requests evenly and lets a short pause be made up for.
type pace struct {
	gap  time.Duration
	next time.Time
}

// hurry is by how much faster probes go that somebody waits for.
const hurry = 5

// burst is how many requests may follow each other at once.
const burst = 20

func (p *pace) ready() time.Time { return p.next }

func (p *pace) spend(now time.Time, requests int, waited bool) {
	if earliest := now.Add(-burst * p.gap); p.next.Before(earliest) {
		p.next = earliest
	}
	gap := p.gap
	if waited {
		gap /= hurry
	}
	p.next = p.next.Add(time.Duration(requests) * gap)
}
