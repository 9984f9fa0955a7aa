// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/trellis-mesh/trellis/internal/durable"
	"github.com/trellis-mesh/trellis/internal/mtls/sighting"
)

const (
	// stateName is the file with what was seen, and asideName is what one is called that
	// could not be read: there is one at most.
	stateName = "sightings.state"
	asideName = "sightings.unreadable"
	// maxState is how many bytes it may have: more than any tally ever needs.
	maxState = 128 << 20
	// keeping is how often it is written: a process that is killed loses what it has seen in
	// so long.
	keeping = 10 * time.Second
	// underway is for how long what has come may not be in the queue yet: so much less is
	// claimed to be in the file.
	underway = time.Second
)

// remembered is a tally that goes on with what is kept in the directory; it begins anew where
// there is none, or nothing in it that can be read.
func remembered(config Config) *sighting.Tally {
	anew := func() *sighting.Tally { return sighting.NewTally(config.Limits, config.Clock.Now()) }
	if config.Dir == "" {
		return anew()
	}
	path := filepath.Join(config.Dir, stateName)
	raw, err := readState(path)
	if errors.Is(err, os.ErrNotExist) {
		return anew()
	}
	if err == nil {
		var out *sighting.Tally
		if out, err = sighting.Restore(config.Limits, raw, config.Clock.Now()); err == nil {
			config.Log.Info("what was seen of traffic before is read", "file", path, "bytes", len(raw))
			return out
		}
	}
	aside := filepath.Join(config.Dir, asideName)
	config.Log.Error("what was seen of traffic before is lost: rollouts begin to observe anew", "aside", aside, "error", errors.Join(err, os.Rename(path, aside)))
	return anew()
}

func readState(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("reading %s: %d bytes are more than any has", path, info.Size())
	}
	return os.ReadFile(path)
}

// keep writes what was seen again and again.
func (c *Collector) keep(ended <-chan struct{}) {
	timer := c.config.Clock.NewTimer(keeping)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return
		case <-timer.C():
		}
		c.save(c.readUntil())
		timer.Reset(keeping)
	}
}

// save writes what was seen until a time. What cannot be written is a time that the next
// process does not claim to have watched.
func (c *Collector) save(until time.Time) {
	if c.config.Dir == "" {
		return
	}
	if _, err := durable.Put(filepath.Join(c.config.Dir, stateName), c.tally.Kept(until.Add(-underway))); err != nil {
		c.config.Log.Error("what was seen of traffic is not kept", "error", err)
	}
}
