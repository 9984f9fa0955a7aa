// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller"
	"github.com/trellis-mesh/trellis/internal/model"
)

// task is one probe, for every owner that asks for it.
type task struct {
	probe  compile.Probe
	owners []model.Reference
	pods   []string
	// fresh: it has not been sent since it was asked for, or since its pods
	// changed.
	fresh bool
	due   time.Time
	// waited is until when somebody waits for the first good answer: that is how
	// long a change may take to be everywhere.
	waited time.Time
	// failed counts results in a row that were not as expected.
	failed int
	// place in the heap; -1 while it is being sent.
	place int
	gone  bool
}

// schedule orders tasks: those that nobody has an answer for yet, then by when
// they are due. It is for one goroutine.
type schedule struct {
	interval time.Duration
	tasks    map[string]*task
	waiting  []*task
}

// retryFirst is when a probe that failed is sent again first; it doubles up to
// the interval. A change takes about a second to reach the data plane.
const (
	retryFirst = 500 * time.Millisecond
	waiting    = 15 * time.Second
)

func newSchedule(interval time.Duration) *schedule {
	return &schedule{interval: interval, tasks: map[string]*task{}}
}

// follow replaces what is scheduled. A probe that was there keeps its place.
func (s *schedule) follow(snapshot *model.Snapshot, targets []controller.ProbeTarget, now time.Time) {
	next := make(map[string]*task, len(s.tasks))
	for _, target := range targets {
		for _, probe := range target.Probes {
			id := identify(probe)
			t := next[id]
			if t == nil {
				t = &task{probe: probe, pods: addresses(snapshot, probe.Gateway)}
				next[id] = t
			}
			t.owners = append(t.owners, target.Owner)
		}
	}
	for id, old := range s.tasks {
		t := next[id]
		if t == nil {
			s.drop(old)
			continue
		}
		changed := !slices.Equal(old.pods, t.pods) || !slices.Equal(old.owners, t.owners)
		old.owners, old.pods = t.owners, t.pods
		next[id] = old
		if changed {
			old.fresh, old.due, old.waited = true, now, now.Add(waiting)
			if old.place >= 0 {
				heap.Fix(s, old.place)
			}
		}
	}
	// In a fixed order, so that a run can be told again.
	for _, id := range slices.Sorted(maps.Keys(next)) {
		if t := next[id]; s.tasks[id] == nil {
			t.fresh, t.due, t.waited = true, now, now.Add(waiting)
			heap.Push(s, t)
		}
	}
	s.tasks = next
}

func (s *schedule) drop(t *task) {
	t.gone = true
	if t.place >= 0 {
		heap.Remove(s, t.place)
	}
}

// next takes the task that is to be sent now, or says when there will be one;
// zero when nothing is waiting.
func (s *schedule) next(now time.Time) (*task, time.Time) {
	if len(s.waiting) == 0 {
		return nil, time.Time{}
	}
	first := s.waiting[0]
	if first.due.After(now) {
		return nil, first.due
	}
	heap.Pop(s)
	first.fresh = false
	return first, time.Time{}
}

// done puts a task back after it was sent.
func (s *schedule) done(t *task, asExpected bool, now time.Time) {
	if t.gone {
		return
	}
	wait := s.interval
	if asExpected {
		t.failed, t.waited = 0, time.Time{}
	} else {
		wait = min(wait, retryFirst<<min(t.failed, 16))
		t.failed++
	}
	// What changed while it was sent is not answered yet.
	if t.fresh {
		wait = 0
	}
	t.due = now.Add(wait)
	heap.Push(s, t)
}

// identify tells probes apart by everything that they say.
func identify(p compile.Probe) string {
	var gateway strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p.Gateway.Selector)) {
		fmt.Fprintf(&gateway, "%s=%s,", k, p.Gateway.Selector[k])
	}
	return fmt.Sprintf("%s\x00%s\x00%s/%s:%d\x00%s\x00%s\x00%s\x00%s\x00%s", p.Application, p.Route,
		p.Gateway.Namespace, gateway.String(), p.Port, p.Host, p.Method, p.Path, p.Expect, p.Fingerprint)
}

// addresses are the ready pods of a gateway, each once, in order.
func addresses(snapshot *model.Snapshot, gateway compile.WorkloadSelector) []string {
	var out []string
	for _, w := range snapshot.Selected(gateway.Namespace, gateway.Selector) {
		if w.Ready && w.Address != "" {
			out = append(out, w.Address)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The five methods of heap.Interface.

func (s *schedule) Len() int { return len(s.waiting) }

func (s *schedule) Less(i, j int) bool {
	a, b := s.waiting[i], s.waiting[j]
	if a.fresh != b.fresh {
		return a.fresh
	}
	return a.due.Before(b.due)
}

func (s *schedule) Swap(i, j int) {
	s.waiting[i], s.waiting[j] = s.waiting[j], s.waiting[i]
	s.waiting[i].place, s.waiting[j].place = i, j
}

func (s *schedule) Push(x any) {
	if t, ok := x.(*task); ok {
		t.place = len(s.waiting)
		s.waiting = append(s.waiting, t)
	}
}

func (s *schedule) Pop() any {
	last := len(s.waiting) - 1
	t := s.waiting[last]
	s.waiting[last] = nil
	s.waiting = s.waiting[:last]
	t.place = -1
	return t
}
