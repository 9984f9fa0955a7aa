// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"
)

// maxBody bounds an answer of a CA, in octets; a chain of 100 names has 30,000.
const maxBody = 1 << 20

// maxRetryAfter bounds what a CA may ask for: the longest of Let's Encrypt's
// limits comes back within a week.
const maxRetryAfter = 7 * 24 * time.Hour

// exchange collects what the library does not tell about the requests of a step:
// Retry-After, and the first answer that forbids more of them.
type exchange struct {
	now    time.Time
	cancel context.CancelFunc

	mu      sync.Mutex
	failure *Failure
	// retryAfter is of the last answer; zero where it had none. body and links are of
	// it, too.
	retryAfter time.Duration
	body       []byte
	links      []string
}

type exchangeKey struct{}

// wholeKey marks a request for a directory that is to stay whole.
type wholeKey struct{}

// begin prepares a context for the requests of one step. The library repeats
// requests that failed, within milliseconds, also after "503, Retry-After: 3600"
// and where nobody knows whether the first was heard. Cancelling the context ends
// that; only a rejected nonce is tried again.
func begin(ctx context.Context, now time.Time, timeout time.Duration) (context.Context, *exchange) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	x := &exchange{now: now, cancel: cancel}
	return context.WithValue(ctx, exchangeKey{}, x), x
}

func (x *exchange) wait() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.retryAfter
}

// last is the body and the Link headers of the last answer.
func (x *exchange) last() ([]byte, []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.body, x.links
}

// clean reports whether nothing has failed so far.
func (x *exchange) clean() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failure == nil
}

// fail notes a failure that ends the step.
func (x *exchange) fail(f Failure) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failure == nil {
		x.failure = &f
	}
	x.cancel()
}

// transport watches the requests of steps, bounds the answers, and refuses to
// speak without TLS wherever a CA points to.
type transport struct {
	base http.RoundTripper
	// directory is the URL whose answer loses its renewalInfo: the engine asks for
	// renewal times itself, with its own clock, randomness and patience.
	directory string
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("a request outside of a step")
	}
	if req.URL.Scheme != "https" {
		err := fmt.Errorf("the CA points to %s, and ACME is spoken over https only (RFC 8555 §6.1)", clean(req.URL.Redacted()))
		x.fail(Failure{Type: TypeConnection, Detail: err.Error()})
		return nil, err
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		x.fail(Failure{Type: TypeConnection, Detail: clean(err.Error())})
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("an answer has more than %d octets", maxBody)
	}
	if err != nil {
		x.fail(Failure{Type: TypeConnection, Status: resp.StatusCode, Detail: clean("reading an answer: " + err.Error())})
		return nil, err
	}
	x.observe(resp, body)
	if req.Method == http.MethodGet && req.URL.String() == t.directory && resp.StatusCode == http.StatusOK {
		if body, err = readDirectory(body, req.Context().Value(wholeKey{}) != nil); err != nil {
			x.fail(Failure{Type: TypeConnection, Detail: clean(err.Error())})
			return nil, err
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

func (x *exchange) observe(resp *http.Response, body []byte) {
	after := retryAfter(resp.Header.Get("Retry-After"), x.now)
	x.mu.Lock()
	x.retryAfter, x.body, x.links = after, body, resp.Header.Values("Link")
	x.mu.Unlock()
	if resp.StatusCode < 400 {
		return
	}
	if f := parseProblem(resp.StatusCode, body); f.Type != "badNonce" {
		x.fail(f)
	}
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110 §10.2.3).
// Zero is no wait, and what cannot be read.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// readDirectory refuses what is no directory before the library sees it: it would
// believe it for half a day, in all of the process.
func readDirectory(body []byte, whole bool) ([]byte, error) {
	var d acmez.Directory
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("reading the CA's directory: %w", err)
	}
	for _, u := range []string{d.NewNonce, d.NewAccount, d.NewOrder} {
		if !httpsURL(u) {
			return nil, fmt.Errorf("reading the CA's directory: %q is no URL with https (RFC 8555 §6.1, §7.1.1)", clean(u))
		}
	}
	if whole {
		return body, nil
	}
	d.RenewalInfo = ""
	return json.Marshal(d)
}
