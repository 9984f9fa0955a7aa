// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/fleet"
)

const compileRuns = 9

// compileFigures compiles whole platforms. The peer is encoding the same
// objects as JSON once: what any tool that applies them pays at least.
func compileFigures(context.Context) ([]figure, error) {
	var out []figure
	var base time.Duration
	for _, n := range []int{1000, 10000} {
		snapshot, err := fleet.Snapshot(fleet.Options{Applications: n, Routes: 5, Ingresses: 10})
		if err != nil {
			return nil, err
		}
		took, allocated, outcome, err := compileTimes(snapshot)
		if err != nil {
			return nil, err
		}
		encode, err := encodeTime(outcome)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("compile %d Applications × 5 routes on 10 SecureIngresses", n)
		const peer = "encoding the same objects as JSON"
		if n == 1000 {
			base = took
			out = append(out,
				figure{Name: name, Ours: milliseconds(took), Peer: milliseconds(encode), PeerName: peer, Bar: 250, Unit: "ms"},
				figure{Name: name + ", allocated", Ours: float64(allocated) / 1e6, Bar: 200, Unit: "MB"})
			continue
		}
		out = append(out,
			figure{Name: name, Ours: milliseconds(took), Peer: milliseconds(encode), PeerName: peer, Unit: "ms"},
			figure{Name: "10 times the Applications cost", Ours: float64(took) / float64(base), Bar: 12, Unit: "×"})
	}
	return out, nil
}

// compileTimes is the median time of a compilation and what one allocates.
func compileTimes(s *model.Snapshot) (time.Duration, uint64, *compile.Outcome, error) {
	var times []time.Duration
	var allocated uint64
	var outcome *compile.Outcome
	for range compileRuns {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		started := time.Now()
		outcome = compile.Compile(s)
		times = append(times, time.Since(started))
		runtime.ReadMemStats(&after)
		allocated = after.TotalAlloc - before.TotalAlloc
	}
	for _, f := range outcome.Findings {
		if f.Severity == model.SeverityError {
			return 0, 0, nil, fmt.Errorf("compiling, %s %s: %s", f.Object, f.Field, f.Message)
		}
	}
	slices.Sort(times)
	return times[len(times)/2], allocated, outcome, outcome.Err
}

func encodeTime(outcome *compile.Outcome) (time.Duration, error) {
	started := time.Now()
	for _, o := range outcome.Objects {
		if _, err := o.JSON(); err != nil {
			return 0, err
		}
	}
	return time.Since(started), nil
}
