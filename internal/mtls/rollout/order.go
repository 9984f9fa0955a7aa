// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// Order puts stages in the order in which they are to be taken: callers before those
// that they call, because a mistake at workloads that few depend on harms the fewest.
// Who calls whom is what was seen (nil: nothing). Those that call each other in a circle
// stand together. Where nothing else decides, those with the fewest callers come first,
// then those that the fewest clients could call, then it goes by name. What blocks a
// stage has no influence.
func Order(stages []Stage, seen *traffic.Seen) []Stage {
	g := graphOf(stages, seen)
	out := make([]Stage, 0, len(stages))
	for _, circle := range g.sorted() {
		for _, i := range circle {
			out = append(out, stages[i])
		}
	}
	return out
}

// graph is who calls whom, by the places of stages.
type graph struct {
	stages []Stage
	// calls are the stages that one calls, and callers how many clients call one.
	calls   [][]int
	callers []int
}

func graphOf(stages []Stage, seen *traffic.Seen) *graph {
	g := &graph{stages: stages, calls: make([][]int, len(stages)), callers: make([]int, len(stages))}
	if seen == nil {
		return g
	}
	names := namesOf(stages)
	clients := make([]map[string]bool, len(stages))
	for i := range seen.Edges {
		e := &seen.Edges[i]
		from := names.stageOf(e.Client)
		for _, service := range e.Services {
			for _, to := range names.services[service] {
				if to == from {
					continue
				}
				if clients[to] == nil {
					clients[to] = map[string]bool{}
				}
				clients[to][e.Client] = true
				if from >= 0 && !slices.Contains(g.calls[from], to) {
					g.calls[from] = append(g.calls[from], to)
				}
			}
		}
	}
	for i := range stages {
		g.callers[i] = len(clients[i])
	}
	return g
}

// names find the places of stages.
type names struct {
	stages   map[string]int
	services map[string][]int
}

func namesOf(stages []Stage) names {
	out := names{stages: map[string]int{}, services: map[string][]int{}}
	for i := range stages {
		out.stages[stages[i].Name] = i
		for _, service := range stages[i].Services {
			out.services[service] = append(out.services[service], i)
		}
	}
	return out
}

// stageOf is the stage of which a client is a workload; -1: there is none.
func (n names) stageOf(client string) int {
	namespace, _, _ := strings.Cut(client, "/")
	for _, name := range []string{client, namespace} {
		if i, ok := n.stages[name]; ok {
			return i
		}
	}
	if shared := n.services[client]; len(shared) > 0 {
		return shared[0]
	}
	return -1
}

func (g *graph) compare(a, b int) int {
	return cmp.Or(cmp.Compare(g.callers[a], g.callers[b]), cmp.Compare(g.stages[a].callers, g.stages[b].callers),
		strings.Compare(g.stages[a].Name, g.stages[b].Name))
}

// sorted are the circles (strongly connected components; most are of one stage) so that
// each stands after those that call it. Of those that could be next the first by compare is.
func (g *graph) sorted() [][]int {
	circles, of := g.circles()
	waits := make([]int, len(circles)) // for how many calls
	for from, calls := range g.calls {
		for _, to := range calls {
			if of[from] != of[to] {
				waits[of[to]]++
			}
		}
	}
	var out [][]int
	done := make([]bool, len(circles))
	for range circles {
		next := -1
		for c := range circles {
			if !done[c] && waits[c] == 0 && (next < 0 || g.compare(circles[c][0], circles[next][0]) < 0) {
				next = c
			}
		}
		done[next] = true
		out = append(out, circles[next])
		for _, from := range circles[next] {
			for _, to := range g.calls[from] {
				if of[to] != next {
					waits[of[to]]--
				}
			}
		}
	}
	return out
}

// circles finds them by Tarjan's algorithm (Depth-First Search and Linear Graph
// Algorithms, 1972), and of each stage in which one it is.
func (g *graph) circles() (circles [][]int, of []int) {
	t := &tarjan{graph: g, index: make([]int, len(g.stages)), low: make([]int, len(g.stages)), of: make([]int, len(g.stages))}
	for i := range t.of {
		t.of[i] = -1
	}
	for i := range g.stages {
		if t.index[i] == 0 {
			t.visit(i)
		}
	}
	for _, c := range t.circles {
		slices.SortFunc(c, g.compare)
	}
	return t.circles, t.of
}

type tarjan struct {
	*graph
	// index is when a stage was met, from 1 on, and low the first that it leads back to.
	index, low []int
	met        int
	path       []int
	circles    [][]int
	of         []int
}

func (t *tarjan) visit(i int) {
	t.met++
	t.index[i], t.low[i] = t.met, t.met
	t.path = append(t.path, i)
	for _, to := range t.calls[i] {
		switch {
		case t.index[to] == 0:
			t.visit(to)
			t.low[i] = min(t.low[i], t.low[to])
		case t.of[to] < 0:
			t.low[i] = min(t.low[i], t.index[to])
		}
	}
	if t.low[i] != t.index[i] {
		return
	}
	at := slices.Index(t.path, i)
	for _, member := range t.path[at:] {
		t.of[member] = len(t.circles)
	}
	t.circles = append(t.circles, slices.Clone(t.path[at:]))
	t.path = t.path[:at]
}
