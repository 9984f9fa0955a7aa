// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/trellis-mesh/trellis/internal/dns"
)

// pending is the part of a 409 that says that Azure is still busy with the record
// set. Every other 409 is about what is there.
const pending = "Another operation is pending"

// changing is what differs between two answers that say the same: ids of requests
// and operations, our own port, and times.
var changing = regexp.MustCompile(`(?s) ?Trace ID:.*|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|` +
	`\b[0-9a-f.:\[\]]+:\d+->|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*|\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d( [AP]M)?`)

// steady leaves out what changes.
func steady(text string) string { return strings.TrimSpace(changing.ReplaceAllString(text, "…")) }

// explain turns an error of the SDK into one of package dns.
func explain(doing string, err error) error {
	var token *tokenError
	var answer *azcore.ResponseError
	// First, since an attempt to get a token may have a time limit of its own.
	if errors.As(err, &token) {
		return fmt.Errorf("%s: %w", doing, explainToken(token))
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		// The sentinel itself, so that no text of the SDK comes along.
		if errors.Is(err, end) {
			return fmt.Errorf("%s: %w", doing, end)
		}
	}
	switch {
	case errors.Is(err, dns.ErrStale):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &answer):
		return fmt.Errorf("%s: %w", doing, explainAnswer(answer))
	}
	return fmt.Errorf("%s: %s", doing, steady(err.Error()))
}

// explainToken says why there is no token.
func explainToken(e *tokenError) error {
	var failed *azidentity.AuthenticationFailedError
	switch {
	case e.ended != nil:
		return e.ended
	case errors.As(e.cause, &failed) && failed.RawResponse != nil:
		code, text := said(failed.RawResponse)
		if throttled := throttling(failed.RawResponse, text); throttled != nil {
			return throttled
		}
		if failed.RawResponse.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("getting a token: %s: %s", code, text)
		}
		return fmt.Errorf("%w: getting a token: %s: %s", dns.ErrCredentials, code, text)
	case e.lost != nil:
		return fmt.Errorf("getting a token: %s", steady(e.lost.Error()))
	}
	return fmt.Errorf("%w: getting a token: %s", dns.ErrCredentials, steady(e.cause.Error()))
}

// explainAnswer reads status and code.
func explainAnswer(e *azcore.ResponseError) error {
	code, text := e.ErrorCode, ""
	if e.RawResponse != nil {
		said, message := said(e.RawResponse)
		code, text = cmp.Or(said, code), message
		if throttled := throttling(e.RawResponse, code+": "+text); throttled != nil {
			return throttled
		}
	}
	text = code + ": " + text
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s", dns.ErrCredentials, text)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s", dns.ErrNoZone, text)
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %s", dns.ErrStale, text)
	case http.StatusConflict:
		if strings.Contains(text, pending) {
			return &dns.ThrottledError{Said: text}
		}
		// A CNAME beside others: what is there came after the zone was read.
		return fmt.Errorf("%w: %s", dns.ErrStale, text)
	case http.StatusBadRequest:
		return fmt.Errorf("%w: %s", dns.ErrInvalid, text)
	}
	return fmt.Errorf("status %d: %s", e.StatusCode, text)
}

// throttling is nil where an answer does not ask to be left alone.
func throttling(r *http.Response, text string) error {
	after := retryAfter(r)
	if r.StatusCode != http.StatusTooManyRequests && (r.StatusCode != http.StatusServiceUnavailable || after == 0) {
		return nil
	}
	return &dns.ThrottledError{After: after, Said: text}
}

// retryAfter reads RFC 9110 §10.2.3 in seconds or as a date; zero where it is
// neither, or unreasonable.
func retryAfter(r *http.Response) time.Duration {
	value := r.Header.Get("Retry-After")
	after := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		now, err := http.ParseTime(r.Header.Get("Date"))
		if err != nil {
			return 0
		}
		after = at.Sub(now)
	}
	return min(max(after, 0), time.Hour)
}

// said reads the body of an error in the forms of Azure Resource Manager, Azure
// DNS itself, and OAuth 2.0 (RFC 6749 §5.2).
func said(r *http.Response) (code, message string) {
	body, err := runtime.Payload(r)
	if err != nil {
		return "", ""
	}
	type plain struct{ Code, Message string }
	var flat plain
	var wrapped struct{ Error plain }
	var oauth struct {
		Error       string
		Description string `json:"error_description"`
	}
	switch {
	case json.Unmarshal(body, &wrapped) == nil && wrapped.Error.Code != "":
		return wrapped.Error.Code, steady(wrapped.Error.Message)
	case json.Unmarshal(body, &oauth) == nil && oauth.Error != "":
		return oauth.Error, steady(oauth.Description)
	case json.Unmarshal(body, &flat) == nil:
		return flat.Code, steady(flat.Message)
	}
	return "", ""
}
