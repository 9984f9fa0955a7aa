// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// keeping is how often examples are kept, where there are new ones: a process that is killed
// loses those of so long.
const keeping = time.Minute

// keeper is a store that keeps examples of what was counted, too.
type keeper interface {
	KeepSamples(all []hits.Sample) error
	Samples() ([]hits.Sample, error)
}

// keepSamples reads the examples that a store has, and has it keep new ones until it is
// ended, which keeps the last ones. A store that keeps none has them go with the process.
func (t *Tally) keepSamples() (end func()) {
	store, ok := t.config.Store.(keeper)
	if !ok {
		return func() {}
	}
	known, err := store.Samples()
	if err != nil {
		t.config.Log.Warn("examples of what was counted are lost", "error", err)
	}
	t.samples.Add(known)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t.keep(store, ended)
	}()
	return func() {
		close(ended)
		<-done
	}
}

func (t *Tally) keep(store keeper, ended <-chan struct{}) {
	ticker := t.config.Clock.NewTicker(keeping)
	defer ticker.Stop()
	kept := t.samples.Version()
	for going := true; going; {
		select {
		case <-ended:
			going = false
		case <-ticker.C():
		}
		version := t.samples.Version()
		if version == kept {
			continue
		}
		if err := store.KeepSamples(t.samples.All(hits.Filter{}, time.Time{}, t.config.Clock.Now().Add(keeping))); err != nil {
			t.config.Log.Warn("examples of what was counted are not kept", "error", err)
			continue
		}
		kept = version
	}
}
