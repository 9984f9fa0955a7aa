// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"slices"
	"sync"

	"github.com/trellis-mesh/trellis/internal/ask/space"
)

// outsideAnswer is what becomes of every class of requests from the internet.
type outsideAnswer struct {
	leaves []outsideLeaf
	notes  []string
}

type outsideLeaf struct {
	door    *door
	point   *space.Point
	request space.Request
	decided *decided
}

// workers is how many classes are decided at the same time.
const workers = 4

// inParallel does n pieces of work, each once.
func inParallel(n int, do func(int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range min(workers, n) {
		wait.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// fromInternet decides every class of requests from outside, once for a World.
func (w *World) fromInternet() *outsideAnswer {
	reader := w.reader()
	w.sets.mu.Lock()
	known := w.sets.outside
	w.sets.mu.Unlock()
	if known != nil {
		return known
	}
	doors, problems := w.gateways()
	out := &outsideAnswer{notes: problems}
	type work struct {
		door   *door
		within *space.Point
	}
	var all []work
	for _, d := range doors {
		e := &space.Explorer{Sides: []*space.Side{{Reader: reader, Proxies: w.servers(), Door: &d.Door}}}
		for _, host := range e.Hosts() {
			all = append(all, work{d, host})
		}
	}
	leaves, notes := make([][]outsideLeaf, len(all)), make([][]string, len(all))
	inParallel(len(all), func(i int) {
		// Each has a door of its own: exploring notes in it where tokens are sent.
		d := *all[i].door
		d.Places = nil
		e := &space.Explorer{Sides: []*space.Side{{Reader: reader, Proxies: w.servers(), Door: &d.Door}}, Within: all[i].within}
		_, notes[i] = e.Explore(func(p *space.Point) {
			r := d.Witness(p)
			leaves[i] = append(leaves[i], outsideLeaf{&d, p, r, w.decide(&d, r)})
		})
	})
	for i := range all {
		out.leaves = append(out.leaves, leaves[i]...)
		out.notes = append(out.notes, notes[i]...)
	}
	slices.Sort(out.notes)
	out.notes = slices.Compact(out.notes)
	w.sets.mu.Lock()
	defer w.sets.mu.Unlock()
	w.sets.outside = out
	return out
}
