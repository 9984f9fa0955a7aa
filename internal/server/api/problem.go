// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Problem is an answer that says why there is none (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong with this request, and Do what to do about it.
	Detail string `json:"detail"`
	Do     string `json:"do,omitempty"`

	// retry is after which time it is worth trying again; zero: not by itself.
	retry time.Duration
	// allow are the methods that the path has.
	allow string
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

func problem(status int, detail, do string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Do: do}
}

// Busy is a Problem for what may be answered later.
func Busy(detail string, retry time.Duration) *Problem {
	p := problem(http.StatusServiceUnavailable, detail, "ask again in "+retry.String())
	p.retry = retry
	return p
}

// Invalid is a Problem of the question itself.
func Invalid(err error, do string) *Problem { return problem(http.StatusBadRequest, err.Error(), do) }

// problemOf is what is said of an error. Of one that is nobody's question, details are for
// the log alone.
func problemOf(err error) (p *Problem, told bool) {
	if errors.As(err, &p) {
		return p, true
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit), "send less"), true
	}
	return problem(http.StatusInternalServerError, "the question could not be answered", "the log of trellis-server says why"), false
}

func (p *Problem) write(w http.ResponseWriter) {
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(p.retry.Seconds()))))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="trellis"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	// Whoever does not read it has gone.
	_ = json.NewEncoder(w).Encode(p)
}

// Refused is a Problem of whoever asks.
func Refused(status int, detail, do string) *Problem { return problem(status, detail, do) }
