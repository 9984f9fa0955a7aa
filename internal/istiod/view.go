// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/model"
)

// view is what one round has shown.
type view struct {
	records map[proxyKey]*proxyRecord
	// found has the connections of each followed workload, over all replicas.
	found map[proxyKey][]found
	// unreachable is why a replica, or all of them, could not be asked; refused
	// why one would not answer.
	unreachable, refused error
	// foreign: istiod shows proxies outside the operator's namespace.
	foreign bool
	// hidden: it leaves them out on purpose.
	hidden bool
}

type found struct {
	replica Replica
	state   proxyState
	// ambiguous: istiod cannot be asked for its dump.
	ambiguous bool
}

// fill joins the answers of the replicas with the workloads that are followed.
func (v *view) fill(p *plan, replicas []Replica, answers map[Replica]*answer, own string) {
	for _, replica := range replicas {
		a := answers[replica]
		switch {
		case a.err != nil && isRefusal(a.err):
			v.refused = cmp.Or(v.refused, a.err)
			continue
		case a.err != nil:
			v.unreachable = cmp.Or(v.unreachable, a.err)
			continue
		}
		for _, state := range a.proxies {
			v.foreign = v.foreign || state.namespace != own
			key := proxyKey{state.namespace, state.name}
			if p.proxies[key] != nil {
				v.found[key] = append(v.found[key], found{replica, state, ambiguous(state, a.proxies)})
			}
		}
	}
}

// job is one dump to take.
type job struct {
	proxy  *proxyPlan
	state  proxyState
	urgent bool
	dumped time.Time
}

// taken is a dump that was taken.
type taken struct {
	job   job
	index *dumpIndex
	at    time.Time
}

// schedule says which dumps each replica is asked for, in order: those that
// somebody waits for first, then those that were looked at longest ago.
func (w *watch) schedule(p *plan, answers map[Replica]*answer) map[Replica][]job {
	out := map[Replica][]job{}
	for replica, a := range answers {
		for _, state := range a.proxies {
			proxy := p.proxies[proxyKey{state.namespace, state.name}]
			if proxy == nil {
				continue
			}
			if ambiguous(state, a.proxies) {
				continue
			}
			record := w.records[proxy.key]
			due, urgent := record.due(proxy, connection{replica.Address, state.node}, state, a.at)
			if due {
				out[replica] = append(out[replica], job{proxy, state, urgent, record.dumped})
			}
		}
		slices.SortFunc(out[replica], func(a, b job) int {
			if a.urgent != b.urgent {
				if a.urgent {
					return -1
				}
				return 1
			}
			return cmp.Or(a.dumped.Compare(b.dumped), cmp.Compare(a.state.node, b.state.node))
		})
	}
	return out
}

// ambiguous tells whether asking for the dump of one proxy may be answered with
// that of another: istiod looks for a connection whose id, POD.NAMESPACE-NUMBER,
// contains what it is asked for.
func ambiguous(state proxyState, all []proxyState) bool {
	return slices.ContainsFunc(all, func(other proxyState) bool {
		return other.node != state.node && strings.Contains(other.node+"-", state.node+"-")
	})
}

// take takes dumps until the round's time for them is up.
func (w *watch) take(ctx context.Context, s *session, jobs []job) []taken {
	var out []taken
	calm := 0
	until := w.config.Clock.Now().Add(dumping)
	for _, j := range jobs {
		if !j.urgent {
			if calm++; calm > freshenings {
				break
			}
		}
		// A dump is as new as the moment before it was asked for.
		at := w.config.Clock.Now()
		if at.After(until) {
			break
		}
		dump, err := s.dump(ctx, j.state.node+"-")
		if err != nil {
			break
		}
		if dump == nil {
			continue
		}
		index, err := readDump(dump, j.proxy.has)
		if err != nil {
			continue
		}
		out = append(out, taken{j, index, at})
	}
	return out
}

// learn takes what the replicas said into the records.
func (w *watch) learn(p *plan, answers map[Replica]*answer) {
	for replica, a := range answers {
		for _, t := range a.dumps {
			w.records[t.job.proxy.key].look(t.job.proxy, connection{replica.Address, t.job.state.node}, t.job.state, t.index, t.at)
		}
	}
	written := p.written()
	for _, a := range answers {
		for _, state := range a.proxies {
			if proxy := p.proxies[proxyKey{state.namespace, state.name}]; proxy != nil {
				w.records[proxy.key].confirm(proxy, state, a.at, written)
			}
		}
	}
}

// written says when an object was last written.
func (p *plan) written() func(model.Reference) time.Time {
	at := map[model.Reference]time.Time{}
	for _, owner := range p.owners {
		for _, o := range owner.target.Objects {
			at[o.Ref] = o.At
		}
	}
	return func(ref model.Reference) time.Time { return at[ref] }
}
