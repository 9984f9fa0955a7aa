// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxStreams and maxOwn bound how many follow at the same time: of all viewers, and of
	// one.
	maxStreams, maxOwn = 512, 16
	// beat is how often something is sent where nothing changes, so that whoever has gone is
	// noticed.
	beat = 15 * time.Second
	// age is when a stream ends by itself: then the token is looked at anew.
	age = 5 * time.Minute
	// slow is how long a reader may take to take one event.
	slow = 5 * time.Second
)

// stream is one that is sent.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// begin reports whether there is anybody to send to.
func (s stream) begin() bool {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	// All of the question is there. Over HTTP/1.1 the time for reading it would end the stream.
	return can(s.control.SetReadDeadline(time.Time{}))
}

// send reports whether a text was taken. A reader that takes nothing is let go, and the
// stream of one that does lives longer than any other answer.
func (s stream) send(text string) bool {
	if !can(s.control.SetWriteDeadline(time.Now().Add(slow))) {
		return false
	}
	if _, err := fmt.Fprint(s.w, text); err != nil {
		return false
	}
	if s.control.Flush() != nil {
		return false
	}
	// HTTP/2 resets a stream whose deadline passes, though nothing is being written.
	return can(s.control.SetWriteDeadline(time.Time{}))
}

// can reports whether a deadline is set. A writer without deadlines is one of a test.
func can(err error) bool { return err == nil || errors.Is(err, http.ErrNotSupported) }

// events sends server-sent events: changed, with the revision, and counted. What changed is
// not said: whoever follows asks again for what they may see.
func (a *API) events(c *call) error {
	if !a.streams.enter(c.viewer.Name) {
		return Busy(fmt.Sprintf("more than %d pages of yours, or %d of all, follow already", maxOwn, maxStreams), 30*time.Second)
	}
	defer a.streams.leave(c.viewer.Name)
	revisions, end := a.config.Cluster.Follow()
	defer end()
	var counted <-chan struct{}
	if a.config.Counted != nil {
		var done func()
		counted, done = a.config.Counted()
		defer done()
	}
	s := stream{c.w, http.NewResponseController(c.w)}
	if !s.begin() {
		return nil
	}
	if p, err := a.config.Cluster.Picture(c.r.Context()); err != nil || !s.send(changed(p.Revision)) {
		return nil
	}
	over, next := a.config.Clock.After(age), a.config.Clock.After(beat)
	for {
		text := ""
		select {
		case <-c.r.Context().Done():
			return nil
		case <-over:
			return nil
		case revision, ok := <-revisions:
			if !ok {
				return nil
			}
			text = changed(revision)
		case <-counted:
			text = "event: counted\ndata: {}\n\n"
		case <-next:
			text = ": nothing has changed\n\n"
		}
		if !s.send(text) {
			return nil
		}
		next = a.config.Clock.After(beat)
	}
}

func changed(revision string) string {
	return fmt.Sprintf("event: changed\ndata: {\"revision\": %q}\n\n", revision)
}
