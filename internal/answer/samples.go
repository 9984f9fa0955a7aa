// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// Samples are the newest requests that were counted, as examples.
type Samples struct {
	Samples []Sample `json:"samples"`
	// More is how many there are besides.
	More  int      `json:"more,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Redacted says that examples are left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Sample is one request, with nothing that identifies a person.
type Sample struct {
	At      time.Time    `json:"at"`
	Verdict hits.Verdict `json:"verdict"`
	Place   hits.Place   `json:"place"`
	// Method and Code are those of HTTP; absent of a connection without.
	Method string `json:"method,omitempty"`
	Code   int    `json:"code,omitempty"`
	// Details are Envoy's response code details; trellis explain reads them.
	Details string `json:"details,omitempty"`
	// RequestID is X-Request-Id, by which the line is found in a log.
	RequestID   string `json:"requestID,omitempty"`
	Application string `json:"application,omitempty"`
	Route       string `json:"route,omitempty"`
	Statement   string `json:"statement,omitempty"`
	Field       string `json:"field,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Peer        string `json:"peer,omitempty"`
}

// SampleOf is the view of an example.
func SampleOf(s *hits.Sample) Sample {
	out := Sample{
		At: s.At.UTC(), Verdict: s.Verdict, Place: s.Place, Method: s.Method, Code: s.Code, Details: s.Details, RequestID: s.ID,
		Route: s.Route, Statement: s.Statement, Field: s.Field, Reason: s.Reason, Peer: s.Peer,
	}
	if s.Application != "" {
		out.Application = s.Namespace + "/" + s.Application
	}
	return out
}
