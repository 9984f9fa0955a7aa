// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// probeKey identifies a probe: two Applications or an ingress and its
// Application that ask for the same share one.
type probeKey struct {
	application      model.Reference
	route            string
	gateway          string
	port             int32
	host             string
	method, path     string
	expect           compile.Expectation
	fingerprintIsSet bool
}

func keyOf(p compile.Probe) probeKey {
	return probeKey{p.Application, p.Route, p.Gateway.Namespace, p.Port, p.Host, p.Method, p.Path, p.Expect, p.Fingerprint != ""}
}

// inbox is where the sources of status leave what they found. Safe for
// concurrent use.
type inbox struct {
	mu       sync.Mutex
	verdicts map[model.Reference]Verdict
	results  map[probeKey]ProbeResult
	// since is when a probe was first followed; older results are about
	// something else.
	since   map[probeKey]time.Time
	changed chan struct{}
}

func newInbox() *inbox {
	return &inbox{
		verdicts: map[model.Reference]Verdict{}, results: map[probeKey]ProbeResult{},
		since: map[probeKey]time.Time{}, changed: make(chan struct{}, 1),
	}
}

// putVerdicts is what a ProgrammedSource reports to.
func (b *inbox) putVerdicts(verdicts []Verdict) {
	b.mu.Lock()
	news := false
	for _, v := range verdicts {
		news = news || b.verdicts[v.Owner] != v
		b.verdicts[v.Owner] = v
	}
	b.mu.Unlock()
	b.signal(news)
}

// putResults is what a Prober reports to. A result that says what the one before
// said is no news.
func (b *inbox) putResults(results []ProbeResult) {
	b.mu.Lock()
	news := false
	for _, r := range results {
		key := keyOf(r.Probe)
		was, known := b.results[key]
		since, followed := b.since[key]
		if !followed || r.At.Before(since) || known && r.At.Before(was.At) {
			continue
		}
		news = news || !known || was.Status != r.Status || was.Reason != r.Reason || was.Message != r.Message
		b.results[key] = r
	}
	b.mu.Unlock()
	b.signal(news)
}

func (b *inbox) signal(news bool) {
	if !news {
		return
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// follow forgets what is no longer asked for, and what was found before a change
// of the owner's objects.
func (b *inbox) follow(programmed []ProgrammedTarget, probed []ProbeTarget, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owners := make(map[model.Reference]time.Time, len(programmed))
	for _, t := range programmed {
		owners[t.Owner] = t.LastWrite()
	}
	for owner := range b.verdicts {
		if _, ok := owners[owner]; !ok {
			delete(b.verdicts, owner)
		}
	}
	followed := make(map[probeKey]bool, len(b.since))
	for _, t := range probed {
		for _, p := range t.Probes {
			key := keyOf(p)
			followed[key] = true
			if _, ok := b.since[key]; !ok {
				b.since[key] = now
			}
			if last := owners[t.Owner]; last.After(b.since[key]) {
				b.since[key] = last
			}
			if b.results[key].At.Before(b.since[key]) {
				delete(b.results, key)
			}
		}
	}
	for key := range b.since {
		if !followed[key] {
			delete(b.since, key)
			delete(b.results, key)
		}
	}
}

// verdict is what is known of an owner since its last write.
func (b *inbox) verdict(t ProgrammedTarget) (Verdict, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.verdicts[t.Owner]
	return v, ok && v.LastWrite.Equal(t.LastWrite())
}

func (b *inbox) result(p compile.Probe) (ProbeResult, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.results[keyOf(p)]
	return r, ok
}

// counts are how many probes ended how.
func (b *inbox) counts() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{"True": 0, "False": 0, "Unknown": 0, "Pending": len(b.since) - len(b.results)}
	for _, r := range b.results {
		out[string(r.Status)]++
	}
	return out
}
