// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Config is what a Source is made from. All of it is required.
type Config struct {
	Replicas Replicas
	Roots    Roots
	Token    Token
	Identity Identity
	// ServerName is the name that istiod's certificate must have, for example
	// istiod.istio-system.svc.
	ServerName string
	// Cluster is Istio's id of the operator's cluster.
	Cluster string
	Clock   clock.Clock
}

const (
	// busy and idle are the times between two rounds: while somebody waits for
	// an acknowledgement, and otherwise.
	busy = 500 * time.Millisecond
	idle = 10 * time.Second
	// breath is the least time between two rounds, and lets istiod collect
	// events (PILOT_DEBOUNCE_AFTER is 100 ms).
	breath = 150 * time.Millisecond
	// dumping is how much of a round one replica may spend on dumps: a dump costs
	// istiod some 50 ms for each 1,000 services.
	dumping = 2 * time.Second
	// freshenings is how many dumps that nobody waits for a round may take.
	freshenings = 5
)

// Source implements controller.ProgrammedSource.
type Source struct {
	config Config
	wake   chan struct{}

	mu       sync.Mutex
	followed *followed
	written  *written
	// err is why the last Follow could not be taken in.
	err error
}

// followed is what a plan is made from.
type followed struct {
	snapshot *model.Snapshot
	targets  []controller.ProgrammedTarget
	written  *written
}

var _ controller.ProgrammedSource = (*Source)(nil)

// New makes a Source that follows nothing yet.
func New(config Config) *Source {
	return &Source{config: config, wake: make(chan struct{}, 1), written: &written{}}
}

// Follow implements controller.ProgrammedSource.
func (s *Source) Follow(snapshot *model.Snapshot, targets []controller.ProgrammedTarget, objects []compile.Packed) {
	s.mu.Lock()
	next, err := s.written.next(targets, objects)
	if s.err = err; err == nil {
		s.written, s.followed = next, &followed{snapshot, targets, next}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives what is to be followed from now on; nil when that has not changed.
func (s *Source) take() (*followed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.followed, s.err
	s.followed, s.err = nil, nil
	return f, err
}

// Run implements controller.ProgrammedSource. It returns only when ctx ends.
func (s *Source) Run(ctx context.Context, report func([]controller.Verdict)) error {
	w := newWatch(s.config)
	defer w.close()
	log := logr.FromContextOrDiscard(ctx).WithName("istiod")
	said := newReported()
	p := &plan{}
	for ctx.Err() == nil {
		f, err := s.take()
		if err != nil {
			log.Error(err, "reading what was written")
		}
		if f != nil {
			p = newPlan(f)
		}
		waiting := false
		if len(p.owners) > 0 {
			view := w.round(ctx, p)
			if ctx.Err() != nil {
				break
			}
			var verdicts []controller.Verdict
			verdicts, waiting = judge(p, view, s.config.Identity, s.config.Clock.Now())
			if fresh := said.changed(verdicts); len(fresh) > 0 {
				report(fresh)
			}
		}
		s.rest(ctx, waiting)
	}
	return nil
}

// rest waits for the next round: at least a breath, and then until something is
// to be followed or the time is up.
func (s *Source) rest(ctx context.Context, waiting bool) {
	if !s.sleep(ctx, breath, nil) {
		return
	}
	if waiting {
		s.sleep(ctx, busy-breath, s.wake)
	} else {
		s.sleep(ctx, idle-breath, s.wake)
	}
}

func (s *Source) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := s.config.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// reported remembers the last verdict on each owner.
type reported map[model.Reference]controller.Verdict

func newReported() *reported { return &reported{} }

// changed returns the verdicts that say something new, and forgets owners that
// are no longer judged.
func (r *reported) changed(verdicts []controller.Verdict) []controller.Verdict {
	next := make(reported, len(verdicts))
	var out []controller.Verdict
	for _, v := range verdicts {
		if was, ok := (*r)[v.Owner]; !ok || was != v {
			out = append(out, v)
		}
		next[v.Owner] = v
	}
	*r = next
	return out
}

// watch keeps the sessions and what was learned from round to round.
type watch struct {
	config     Config
	sessions   map[Replica]*session
	records    map[proxyKey]*proxyRecord
	privileged privilege
}

// privilege remembers for a while whether istiod shows the operator everything.
type privilege struct {
	yes   bool
	until time.Time
}

func newWatch(config Config) *watch {
	return &watch{config: config, sessions: map[Replica]*session{}, records: map[proxyKey]*proxyRecord{}}
}

func (w *watch) close() {
	for _, s := range w.sessions {
		s.close()
	}
}

// round asks every replica once, takes the dumps that are due, and asks again
// where it did: what was acknowledged must be read after what was sent.
func (w *watch) round(ctx context.Context, p *plan) *view {
	v := &view{records: w.records, found: map[proxyKey][]found{}}
	replicas, err := w.config.Replicas.Replicas(ctx)
	if err != nil {
		v.unreachable = err
		return v
	}
	w.forget(replicas, p)
	states := w.each(ctx, replicas, func(ctx context.Context, s *session) *answer { return ask(ctx, s) })
	work := w.schedule(p, states)
	answers := w.each(ctx, replicas, func(ctx context.Context, s *session) *answer {
		first := states[s.replica]
		if first.err != nil || len(work[s.replica]) == 0 {
			return first
		}
		dumps := w.take(ctx, s, work[s.replica])
		second := ask(ctx, s)
		second.dumps = dumps
		return second
	})
	w.learn(p, answers)
	v.fill(p, replicas, answers, w.config.Identity.Namespace)
	v.hidden = w.hidden(ctx, replicas, answers, v)
	return v
}

// forget drops sessions to replicas that are gone and records of workloads that
// nobody follows.
func (w *watch) forget(replicas []Replica, p *plan) {
	alive := make(map[Replica]bool, len(replicas))
	for _, r := range replicas {
		alive[r] = true
	}
	for r, s := range w.sessions {
		if !alive[r] {
			s.close()
			delete(w.sessions, r)
		}
	}
	for key := range w.records {
		if p.proxies[key] == nil {
			delete(w.records, key)
		}
	}
	for key := range p.proxies {
		if w.records[key] == nil {
			w.records[key] = newProxyRecord()
		}
	}
}

// answer is what one replica said in one round.
type answer struct {
	err     error
	proxies []proxyState
	at      time.Time
	dumps   []taken
}

// each does something with the session of every replica, all at once. A session
// that fails is dialled anew in the next round.
func (w *watch) each(ctx context.Context, replicas []Replica, do func(context.Context, *session) *answer) map[Replica]*answer {
	var mu sync.Mutex
	var group sync.WaitGroup
	out := make(map[Replica]*answer, len(replicas))
	for _, replica := range replicas {
		group.Go(func() {
			mu.Lock()
			s := w.sessions[replica]
			mu.Unlock()
			var err error
			if s == nil {
				s, err = dial(ctx, replica, w.config)
			}
			var a *answer
			if err != nil {
				a = &answer{err: err}
			} else if a = do(ctx, s); a.err != nil {
				s.close()
				s = nil
			}
			a.at = w.config.Clock.Now()
			mu.Lock()
			defer mu.Unlock()
			out[replica] = a
			if s == nil {
				delete(w.sessions, replica)
			} else {
				w.sessions[replica] = s
			}
		})
	}
	group.Wait()
	return out
}

func ask(ctx context.Context, s *session) *answer {
	proxies, err := s.sync(ctx)
	return &answer{err: err, proxies: proxies}
}

// hidden tells whether istiod leaves proxies out of its answers because of who
// is asking. It does so without saying so, hence the detour: when it shows no
// proxy outside the operator's own namespace, it is asked something that it
// refuses aloud to everybody whom it does not show everything.
func (w *watch) hidden(ctx context.Context, replicas []Replica, answers map[Replica]*answer, v *view) bool {
	if v.foreign || len(v.found) == len(w.records) {
		return false
	}
	now := w.config.Clock.Now()
	if now.Before(w.privileged.until) {
		return !w.privileged.yes
	}
	for _, replica := range replicas {
		if answers[replica].err != nil || w.sessions[replica] == nil {
			continue
		}
		yes, err := w.sessions[replica].privileged(ctx)
		if err != nil && !errors.Is(err, errRefused) {
			continue
		}
		w.privileged = privilege{yes: yes, until: now.Add(time.Minute)}
		return !yes
	}
	return false
}
