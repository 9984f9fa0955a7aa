// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package caa

import (
	"context"
	"errors"
	"testing"
)

// records are CAA records by name.
type records map[string][]Record

func (r records) LookupCAA(_ context.Context, name string) ([]Record, error) {
	if name == "broken.example" {
		return nil, errors.New("SERVFAIL")
	}
	return r[name], nil
}

func TestRecordsThatForbidAreWarnedOf(t *testing.T) {
	ours, other, nobody := Record{Tag: "issue", Value: "ca.example; x=y"}, Record{Tag: "issue", Value: "other.example"}, Record{Tag: "issue", Value: ";"}
	zone := records{
		"ours.example":     {other, ours},
		"other.example":    {other},
		"sub.ours.example": {nobody},
		"wild.example":     {ours, {Tag: "issuewild", Value: ";"}},
		"mail.example":     {{Tag: "iodef", Value: "mailto:a@mail.example"}},
	}
	for name, warned := range map[string]bool{
		"ours.example": false, "www.ours.example": false, "*.ours.example": false, "sub.ours.example": true, "a.sub.ours.example": true,
		"other.example": true, "free.example": false, "wild.example": false, "*.wild.example": true, "mail.example": false,
		"a.broken.example": true,
	} {
		if got := Warnings(t.Context(), zone, []string{name}, []string{"CA.example"}); (len(got) == 1) != warned {
			t.Errorf("%s: %q", name, got)
		}
	}
}
