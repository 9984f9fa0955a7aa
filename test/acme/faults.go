// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Fault is what happens to requests instead of, or after, what should.
type Fault struct {
	// Path is the beginning of the paths that it is for; one of the Path constants.
	Path string
	// Skip requests go through before it happens Times times; 0 means once, and a
	// negative number for ever.
	Skip, Times int
	// Cut ends the connection: before the CA hears the request, or, with Heard,
	// after it has done what was asked.
	Cut, Heard bool
	// Status is answered with a problem document of Type (RFC 8555 §6.7, without
	// the prefix) and Detail. RetryAfter is sent where it is not empty.
	Status             int
	Type, Detail       string
	RetryAfter         string
	Body, ContentType  string
	delivered, skipped int
}

// Request is one that reached the front of the CA.
type Request struct {
	Method, Path string
	At           time.Time
	// Status is of the answer; 0 where the connection was cut.
	Status int
}

type faults struct {
	pebble http.Handler
	// settle waits for a challenge to be looked at; nil where nobody does.
	settle func(id string)
	// issued waits until an order that was finalized is done. Pebble's handlers and
	// the goroutine that signs share fields without a lock, so that they run one
	// after the other here: serving.
	issued   func(id string)
	serving  sync.Mutex
	mu       sync.Mutex
	active   []*Fault
	requests []Request
}

// Inject adds a fault.
func (f *faults) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault.Times == 0 {
		fault.Times = 1
	}
	f.active = append(f.active, &fault)
}

// Heal takes all faults away.
func (f *faults) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = nil
}

// Requests are those with paths that begin so, in the order in which they came.
func (f *faults) Requests(path string) []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Request
	for _, r := range f.requests {
		if strings.HasPrefix(r.Path, path) {
			out = append(out, r)
		}
	}
	return out
}

// Count is how many requests of a path were answered with a status.
func (f *faults) Count(path string, status int) int {
	n := 0
	for _, r := range f.Requests(path) {
		if r.Status == status {
			n++
		}
	}
	return n
}

// Orders is how many orders the CA has made.
func (f *faults) Orders() int { return f.Count(PathNewOrder, http.StatusCreated) }

func (f *faults) next(path string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.active {
		if !strings.HasPrefix(path, fault.Path) || fault.Times >= 0 && fault.delivered >= fault.Times {
			continue
		}
		if fault.skipped < fault.Skip {
			fault.skipped++
			continue
		}
		fault.delivered++
		return fault
	}
	return nil
}

func (f *faults) note(r *http.Request, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, Request{Method: r.Method, Path: r.URL.Path, At: time.Now(), Status: status})
}

// front is what clients speak to.
func (f *faults) front() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := f.next(r.URL.Path)
		switch {
		case fault == nil:
			f.pass(w, r)
		case fault.Cut:
			status := 0
			if fault.Heard {
				status = f.serve(r).Code
			}
			f.note(r, status)
			panic(http.ErrAbortHandler)
		default:
			f.note(r, fault.Status)
			fault.answer(w)
		}
	})
}

func (f *faults) serve(r *http.Request) *httptest.ResponseRecorder {
	f.serving.Lock()
	defer f.serving.Unlock()
	answered := httptest.NewRecorder()
	f.pebble.ServeHTTP(answered, r)
	if id, ok := strings.CutPrefix(r.URL.Path, PathFinalize); ok && answered.Code == http.StatusOK {
		f.issued(id)
	}
	return answered
}

func (f *faults) pass(w http.ResponseWriter, r *http.Request) {
	answered := f.serve(r)
	f.note(r, answered.Code)
	if id, ok := strings.CutPrefix(r.URL.Path, PathChallenge); ok && f.settle != nil {
		f.settle(id)
	}
	for k, v := range answered.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answered.Code)
	_, _ = w.Write(answered.Body.Bytes())
}

func (fault *Fault) answer(w http.ResponseWriter) {
	if fault.RetryAfter != "" {
		w.Header().Set("Retry-After", fault.RetryAfter)
	}
	body, kind := fault.Body, fault.ContentType
	if body == "" {
		kind = "application/problem+json"
		body = fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","detail":%q,"status":%d}`, fault.Type, fault.Detail, fault.Status)
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(fault.Status)
	_, _ = w.Write([]byte(body))
}
