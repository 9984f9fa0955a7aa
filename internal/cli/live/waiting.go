// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// patience is how long somebody looks at nothing before being told what is
	// awaited.
	patience = 2 * time.Second
	// refresh is how often that is told anew.
	refresh = 500 * time.Millisecond
)

// waiting keeps one line on a terminal up to date about what is awaited, and wipes
// it off at the end. Without a terminal it says nothing. It is safe for concurrent
// use.
type waiting struct {
	out io.Writer

	mu   sync.Mutex
	text string
	// began is when somebody began to wait, for whatever.
	began time.Time
	// done is closed at the end; ended once nothing more is written. Nil: nothing
	// is awaited.
	done, ended chan struct{}
}

// say says what is awaited from now on.
func (w *waiting) say(format string, arguments ...any) {
	if w == nil || w.out == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = fmt.Sprintf(format, arguments...)
	if w.began.IsZero() {
		w.began = time.Now()
	}
	if w.done == nil {
		w.done, w.ended = make(chan struct{}), make(chan struct{})
		go w.keep(max(0, patience-time.Since(w.began)), w.done, w.ended)
	}
}

// stop says that nothing is awaited any more.
func (w *waiting) stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	done, ended := w.done, w.ended
	w.done = nil
	w.mu.Unlock()
	if done != nil {
		close(done)
		<-ended
	}
}

func (w *waiting) keep(first time.Duration, done, ended chan struct{}) {
	defer close(ended)
	timer := time.NewTimer(first)
	defer timer.Stop()
	told := false
	for {
		select {
		case <-done:
			if told {
				_, _ = io.WriteString(w.out, "\r\x1b[K")
			}
			return
		case <-timer.C:
			told = true
			w.mu.Lock()
			text := w.text
			w.mu.Unlock()
			_, _ = io.WriteString(w.out, "\r\x1b[K"+text)
			timer.Reset(refresh)
		}
	}
}
