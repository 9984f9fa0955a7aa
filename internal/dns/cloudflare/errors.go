// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

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

	"github.com/trellis-mesh/trellis/internal/dns"
)

// maxSaid is how many characters of the vendor's text come into ours.
const maxSaid = 300

// Codes of refusals that decide what is done next. Cloudflare documents few of
// them; the others are as its users have published them.
var (
	// Headers, keys and tokens that are malformed come with status 400.
	codesCredentials = []int{6003, 6103, 6111, 9103, 9106, 9107, 9109, 10000, 10001}
	// A zone's id that is none, or belongs to nothing.
	codesNoZone = []int{1001, 7000, 7003}
	// The record is gone; one is in the way: address beside CNAME, CNAME, NS, the
	// same, one that is identical.
	codesStale = []int{81044, 81053, 81054, 81055, 81056, 81057, 81058}
	// The zone has as many records as its plan allows.
	codeQuota = 81045
)

// refusal tells the errors of package dns from all others.
func refusal(answer *http.Response, reasons []reason) error {
	said := text(answer, reasons)
	status := answer.StatusCode
	// A zone's codes come with several statuses, those of credentials as well.
	switch {
	case status == http.StatusTooManyRequests:
		return &dns.ThrottledError{After: retryAfter(answer.Header, time.Now()), Said: said}
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("the answer is %d: %s", status, said)
	case has(reasons, codesStale...):
		return fmt.Errorf("%w: %s", dns.ErrStale, said)
	case has(reasons, codesNoZone...):
		return fmt.Errorf("%w: %s", dns.ErrNoZone, said)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || has(reasons, codesCredentials...):
		return fmt.Errorf("%w: %s", dns.ErrCredentials, said)
	case status == http.StatusBadRequest && !has(reasons, codeQuota):
		return fmt.Errorf("%w: %s", dns.ErrInvalid, said)
	}
	return fmt.Errorf("the answer is %d: %s", status, said)
}

// has reports whether one of the codes is among the reasons or their chains.
func has(reasons []reason, codes ...int) bool {
	return slices.ContainsFunc(reasons, func(r reason) bool {
		return slices.Contains(codes, r.Code) || has(r.Chain, codes...)
	})
}

// text is what Cloudflare said, on one line, not longer than needed.
func text(answer *http.Response, reasons []reason) string {
	var parts []string
	for _, r := range reasons {
		parts = append(parts, fmt.Sprintf("%s (%d)", r.Message, r.Code))
		for _, c := range r.Chain {
			parts = append(parts, fmt.Sprintf("%s (%d)", c.Message, c.Code))
		}
	}
	if len(parts) == 0 {
		return http.StatusText(answer.StatusCode)
	}
	s := strings.Join(strings.Fields(strings.ToValidUTF8(strings.Join(parts, ", "), "?")), " ")
	if len(s) > maxSaid {
		s = strings.ToValidUTF8(s[:maxSaid], "") + "…"
	}
	return s
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); zero where it is neither.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now).Round(time.Second))
	}
	return 0
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
