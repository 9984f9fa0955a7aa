// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/parallel"
)

// Trial are the objects that a mesh has with all stages applied. Where an object of
// somebody else is in the way it is taken to say STRICT, so that it is known who would
// be shut out then.
func Trial(stages []Stage) []*securityv1.PeerAuthentication {
	found := map[string]*securityv1.PeerAuthentication{}
	for i := range stages {
		s := &stages[i]
		if s.Done() {
			continue
		}
		if !slices.ContainsFunc(s.Refusals, func(r Refusal) bool { return r.Instead == nil }) {
			found[objectOf(s.Object)] = s.Object
		}
		for _, r := range s.Refusals {
			if r.Instead != nil {
				found[objectOf(r.Instead)] = r.Instead
			}
		}
	}
	var out []*securityv1.PeerAuthentication
	for _, key := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[key])
	}
	return out
}

// workers is how many clients are looked at at the same time.
const workers = 4

// Judge says of each stage how many clients get on, and who would be shut out, given the
// mesh as it is and as it is with the Trial. All clients are compared, one after the
// other, and what their proxies are sent is let go of again.
func Judge(stages []Stage, before, after *mtls.Checker) {
	j := &judge{stages: stages, before: before, after: after, targets: targets(stages, before), clients: map[string]mtls.Client{}, services: map[string]mtls.Target{}}
	for _, c := range after.Clients() {
		j.clients[c.String()] = c
	}
	for _, t := range after.Targets() {
		j.services[t.Service.Host] = t
	}
	clients := before.Clients()
	found := make([][]effect, len(clients))
	parallel.Each(len(clients), workers, func(i int) { found[i] = j.client(clients[i]) })
	for at := range stages {
		s := &stages[at]
		moves, stays := false, false
		for i := range found {
			e := &found[i][at]
			s.Conflicts = append(s.Conflicts, e.conflicts...)
			if e.now {
				s.callers++
			}
			if e.now && e.then {
				s.Clients++
			}
			moves, stays = moves || e.moves, stays || e.stays
		}
		slices.SortFunc(s.Conflicts, func(a, b Conflict) int {
			return cmp.Or(strings.Compare(a.Client, b.Client), cmp.Compare(a.Port, b.Port))
		})
		if !s.Done() && len(s.Refusals) == 0 && stays && !moves {
			s.Refusals = []Refusal{unmoved(s)}
		}
	}
}

// target is a service that leads to workloads of stages, which are named by their places.
type target struct {
	mtls.Target
	stages []int
}

// targets finds them. Where hosts of ServiceEntries lead is told by the proxies of
// clients alone: such an entry selects workloads of its own namespace.
func targets(stages []Stage, c *mtls.Checker) []target {
	namespaces, workloads := map[string][]int{}, map[netip.Addr][]int{}
	for i := range stages {
		namespaces[stages[i].Namespace] = append(namespaces[stages[i].Namespace], i)
		for address := range stages[i].workloads {
			workloads[address] = append(workloads[address], i)
		}
	}
	var out []target
	for _, t := range c.Targets() {
		one := target{Target: t}
		if t.Service.External {
			one.stages = slices.Clone(namespaces[t.Service.Name.Namespace])
		}
		for _, address := range t.Service.Endpoints {
			for _, i := range workloads[address] {
				if !slices.Contains(one.stages, i) {
					one.stages = append(one.stages, i)
				}
			}
		}
		if len(one.stages) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// judge compares two meshes.
type judge struct {
	stages        []Stage
	before, after *mtls.Checker
	targets       []target
	// clients and services are those after, by name and host.
	clients  map[string]mtls.Client
	services map[string]mtls.Target
}

// effect is what one client has to do with one stage.
type effect struct {
	// now and then: it gets on at some port, today and with the stage.
	now, then bool
	// moves: some port does not take plaintext any more, and stays: some does.
	moves, stays bool
	conflicts    []Conflict
}

// client compares all that one client sends.
func (j *judge) client(c mtls.Client) []effect {
	out := make([]effect, len(j.stages))
	then, there := j.clients[c.String()]
	for _, t := range j.targets {
		var after map[string]*mtls.Row
		if to, ok := j.services[t.Service.Host]; ok && there {
			after = byAddress(j.after.Check(then, to))
		}
		for _, row := range j.before.Check(c, t.Target) {
			for _, i := range t.stages {
				out[i].add(&j.stages[i], c, &row, after[row.Address()])
			}
		}
	}
	j.before.Forget(c)
	if there {
		j.after.Forget(then)
	}
	return out
}

func byAddress(rows []mtls.Row) map[string]*mtls.Row {
	out := map[string]*mtls.Row{}
	for i := range rows {
		out[rows[i].Address()] = &rows[i]
	}
	return out
}

// add compares one row, which may be missing afterwards.
func (e *effect) add(s *Stage, c mtls.Client, before, after *mtls.Row) {
	at := func(a netip.Addr) bool { return s.workloads[a] }
	then := map[string]mtls.Ending{}
	if after != nil {
		then = after.Endings(at)
	}
	endings := before.Endings(at)
	for _, address := range slices.Sorted(maps.Keys(endings)) {
		was, is := endings[address], then[address]
		if plain := slices.Contains(is.Accepts, decide.Plaintext); len(is.Accepts) > 0 {
			e.stays, e.moves = e.stays || plain, e.moves || !plain
		}
		e.now = e.now || was.Status == mtls.OK
		e.then = e.then || was.Status == mtls.OK && is.Status == mtls.OK
		if why := objection(s, was, is); why != "" {
			e.conflict(c, before, why)
		}
	}
}

// objection is why a client would not get on any more at an endpoint; empty where it
// would, or never did.
func objection(s *Stage, was, is mtls.Ending) string {
	switch {
	case s.Done():
		// What fails for another reason did so before it was STRICT.
		if was.Status.Fails() && slices.Contains(was.Sends, decide.Plaintext) {
			return was.Why
		}
		return ""
	case was.Status != mtls.OK || is.Status == mtls.OK:
		return ""
	case is.Status.Fails():
		return is.Why
	}
	return "it is not known whether it would get on: " + cmp.Or(is.Why, "nothing is known of it with the stage")
}

// conflict is noted once for each port.
func (e *effect) conflict(c mtls.Client, row *mtls.Row, why string) {
	if slices.ContainsFunc(e.conflicts, func(o Conflict) bool { return o.Port == row.Port }) {
		return
	}
	if row.Subset != "" {
		why = fmt.Sprintf("subset %s: %s", row.Subset, why)
	}
	e.conflicts = append(e.conflicts, Conflict{Client: c.String(), Proxied: c.Node != nil, Port: row.Port, Why: why})
}
