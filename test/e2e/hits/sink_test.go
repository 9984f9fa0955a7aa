// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/test/sink"
)

// newSink takes access logs while trellis-server is away.
func newSink(t *testing.T) *sink.Sink {
	t.Helper()
	s, err := sink.Listen(0)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// quiet waits until nothing has come for several times as long as a proxy keeps entries.
func quiet(t *testing.T, s *sink.Sink) {
	t.Helper()
	const long = 6 * time.Second
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(3 * time.Minute)
	for last, since := s.Entries(), time.Now(); time.Since(since) < long; {
		select {
		case <-ticker.C:
		case <-limit:
			t.Fatal("proxies never have nothing to say")
		}
		if now := s.Entries(); now != last {
			last, since = now, time.Now()
		}
	}
}
