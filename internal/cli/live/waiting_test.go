// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoWaitsForLongIsToldWhatFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		w := &waiting{out: &out}
		for done := range 120 {
			w.say("asking istiod for %d proxies: %d done", 300, done)
			w.stop()
			if done == 0 && out.Len() > 0 {
				t.Errorf("it is told too early: %q", out.String())
			}
			w.say("asking istiod for %d proxies: %d done", 300, done+1)
			<-time.After(50 * time.Millisecond)
		}
		w.stop()
		if text := out.String(); !strings.Contains(text, "asking istiod for 300 proxies: 100 done") || !strings.HasSuffix(text, "\r\x1b[K") {
			t.Errorf("%q", text)
		}
	})
	var nobody *waiting
	nobody.say("x")
	nobody.stop()
}
