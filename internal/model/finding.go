// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"slices"
	"strings"
)

// Severity says whether a finding keeps something from being accepted.
type Severity string

const (
	// SeverityError closes what it is about and makes Accepted false.
	SeverityError Severity = "Error"
	// SeverityWarning is worth a look and changes nothing.
	SeverityWarning Severity = "Warning"
)

// Finding is one refusal or warning, complete enough to act on: what is wrong
// and why, whose rule it is, where, and what to do.
type Finding struct {
	Severity Severity
	// Object is the object that the finding is about; its status shows it.
	Object Reference
	// Field is the path of the field in Object, such as
	// spec.routes[2].paths[0].exact.
	Field string
	// Position is the line of Field, when Object was read from a file.
	Position Position
	// Reason is a word in CamelCase for machines.
	Reason string
	// Message says what is wrong and why, in one or two sentences.
	Message string
	// Owner is whose rule it is: an object, or the API itself.
	Owner string
	// Fix says what to do and where.
	Fix string
}

// SortFindings orders findings by file, line, object, field, reason and message,
// and drops repetitions, so that output never depends on the order of work.
func SortFindings(findings []Finding) []Finding {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			strings.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			a.Object.Compare(b.Object),
			strings.Compare(a.Field, b.Field),
			strings.Compare(a.Reason, b.Reason),
			strings.Compare(a.Message, b.Message),
			strings.Compare(string(a.Severity), string(b.Severity)),
			strings.Compare(a.Owner, b.Owner),
			strings.Compare(a.Fix, b.Fix),
		)
	})
	return slices.Compact(findings)
}
