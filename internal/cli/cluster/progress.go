// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// wait is how long somebody looks at nothing before being told what is awaited.
const wait = 2 * time.Second

// progress tells who waits for a cluster that it is asked still. It is safe for
// concurrent use.
type progress struct {
	next http.RoundTripper
	out  io.Writer

	mu sync.Mutex
	// began is the first request, and asked the number of requests.
	began time.Time
	asked int
}

// RoundTrip passes a request on.
func (p *progress) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	if p.asked++; p.asked == 1 {
		p.began = time.Now()
	}
	began, asked := p.began, p.asked
	p.mu.Unlock()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.tell(r.URL.Host, began, asked, done)
	}()
	answer, err := p.next.RoundTrip(r)
	close(done)
	<-ended
	return answer, err
}

// tell keeps a line on the terminal up to date, and wipes it off at the end.
func (p *progress) tell(host string, began time.Time, asked int, done <-chan struct{}) {
	timer := time.NewTimer(max(0, wait-time.Since(began)))
	defer timer.Stop()
	told := false
	for {
		select {
		case <-done:
			if told {
				_, _ = io.WriteString(p.out, "\r\x1b[K")
			}
			return
		case <-timer.C:
			told = true
			_, _ = fmt.Fprintf(p.out, "\r\x1b[Kwaiting for the cluster at %s: request %d, %d s so far", host, asked, int(time.Since(began).Seconds()))
			timer.Reset(time.Second)
		}
	}
}
