// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package exit is the one place that turns kinds of errors into exit codes.
package exit

import "errors"

// The exit codes of every command.
const (
	// OK: the command did what it was asked, and found no errors.
	OK = 0
	// Failure: wrong usage, a file that cannot be opened, or a fault of Trellis.
	Failure = 1
	// Findings: what was read has errors, all of which were written; or what was
	// asked for is not so: a request is refused, a test has failed.
	Findings = 2
	// Unknown: the answer is that it cannot be told.
	Unknown = 3
)

// ErrFindings is returned by a command that has written findings of severity
// Error. There is nothing more to say about it.
var ErrFindings = errors.New("there are errors")

// ErrUnknown is returned by a command that has written that something cannot be
// told, and why.
var ErrUnknown = errors.New("it cannot be told")

// Code is the exit code of a command that returned err.
func Code(err error) int {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrFindings):
		return Findings
	case errors.Is(err, ErrUnknown):
		return Unknown
	}
	return Failure
}
