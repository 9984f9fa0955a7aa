// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package google

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxSaid is how many characters of a vendor's text come into ours.
const maxSaid = 300

// explain tells the errors of package dns from all others.
func explain(err error) error {
	var said *googleapi.Error
	if errors.As(err, &said) {
		return classify(said)
	}
	return steady(err)
}

// steady is an error of a connection without what differs from one attempt to the
// next: addresses with the port of this side.
func steady(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		return fmt.Errorf("%s %s: %w", op.Op, op.Net, op.Err)
	}
	return err
}

func classify(e *googleapi.Error) error {
	text := brief(fmt.Sprintf("%s (%s)", e.Message, strings.Join(reasons(e), ", ")))
	if e.Message == "" {
		text = http.StatusText(e.Code)
	}
	switch {
	case isThrottled(e):
		return &dns.ThrottledError{After: retryAfter(e.Header), Said: text}
	case e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden && !has(e, "quotaExceeded"):
		return fmt.Errorf("%w: %s", dns.ErrCredentials, text)
	}
	kind := kindOf(e)
	if kind == nil {
		return fmt.Errorf("the answer is %d: %s", e.Code, text)
	}
	return fmt.Errorf("%w: %s", kind, text)
}

// kindOf is the error of package dns for a refusal of what was asked; nil where
// there is none.
func kindOf(e *googleapi.Error) error {
	// A deletion of what is gone is answered like a zone that is gone; the text
	// alone says which of the two is missing.
	aboutChange := strings.Contains(e.Message, "entity.change")
	switch {
	case has(e, "quotaExceeded") && strings.Contains(e.Message, "per change"):
		return dns.ErrTooLarge
	case e.Code == http.StatusPreconditionFailed, e.Code == http.StatusConflict, has(e, "cnameResourceRecordSetConflict"),
		e.Code == http.StatusNotFound && aboutChange:
		return dns.ErrStale
	case e.Code == http.StatusNotFound:
		return dns.ErrNoZone
	case e.Code == http.StatusBadRequest:
		return dns.ErrInvalid
	}
	return nil
}

// isThrottled tells quotas of time, which pass, from those of size, which do not.
func isThrottled(e *googleapi.Error) bool {
	if e.Code == http.StatusTooManyRequests || has(e, "rateLimitExceeded") || has(e, "userRateLimitExceeded") || has(e, "dailyLimitExceeded") {
		return true
	}
	return has(e, "quotaExceeded") && !strings.Contains(e.Message, "The change would exceed quota")
}

func has(e *googleapi.Error, reason string) bool { return slices.Contains(reasons(e), reason) }

func reasons(e *googleapi.Error) []string {
	var out []string
	for _, item := range e.Errors {
		if item.Reason != "" && !slices.Contains(out, item.Reason) {
			out = append(out, item.Reason)
		}
	}
	if len(out) == 0 {
		out = append(out, strconv.Itoa(e.Code))
	}
	return out
}

// retryAfter reads seconds (RFC 9110 §10.2.3); Google sends no dates.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// brief is a vendor's text on one line, not longer than needed.
func brief(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > maxSaid {
		s = strings.ToValidUTF8(s[:maxSaid], "") + "…"
	}
	return s
}
