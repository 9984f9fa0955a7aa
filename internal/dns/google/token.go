// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"golang.org/x/oauth2"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// tokenSource tells credentials that are refused from a token server that is out
// of reach. Safe for concurrent use.
type tokenSource struct {
	source oauth2.TokenSource
	seen   *witness
	mu     sync.Mutex
}

// Token is a token that was kept, or a new one.
func (s *tokenSource) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.failure = nil
	t, err := s.source.Token()
	if err == nil {
		return t, nil
	}
	var refused *oauth2.RetrieveError
	var outer *url.Error
	switch {
	case s.seen.failure != nil:
		return nil, fmt.Errorf("getting a token from Google: %w", steady(s.seen.failure))
	case errors.As(err, &refused):
		return nil, fmt.Errorf("%w: %s", dns.ErrCredentials, tokenRefusal(refused))
	case errors.As(err, &outer):
		return nil, fmt.Errorf("getting a token from Google: %w", steady(outer))
	}
	// Such as a private key that is none. The text might quote it.
	return nil, fmt.Errorf("%w: no token can be had with them", dns.ErrCredentials)
}

// tokenRefusal is what the token server said (RFC 6749 §5.2).
func tokenRefusal(e *oauth2.RetrieveError) string {
	said := struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}{e.ErrorCode, e.ErrorDescription}
	if said.Code == "" && json.Unmarshal(e.Body, &said) != nil {
		said.Code = "" // not in the form of the RFC: not for people either
	}
	return brief(cmp.Or(said.Code, "no reason was given") + " " + said.Text)
}

// witness sees the requests for tokens, since the vendor's code keeps no more than
// a text of what happened to them. It is used under the lock of its tokenSource.
type witness struct {
	base http.RoundTripper
	// failure is what may go away by trying again.
	failure error
}

// RoundTrip makes a request, and remembers how it failed.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	base := w.base
	if base == nil {
		base = http.DefaultTransport
	}
	answer, err := base.RoundTrip(r)
	switch {
	case err != nil:
		w.failure = err
	case answer.StatusCode == http.StatusTooManyRequests:
		w.failure = &dns.ThrottledError{After: retryAfter(answer.Header), Said: "too many requests for tokens"}
	case answer.StatusCode >= http.StatusInternalServerError:
		w.failure = fmt.Errorf("the answer is %d", answer.StatusCode)
	default:
		w.failure = nil
	}
	return answer, err
}
