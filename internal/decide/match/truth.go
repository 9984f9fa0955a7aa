// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package match knows how Envoy compares: its matchers for strings, headers,
// paths, addresses, metadata values and certificates, on one request. Each answer
// is one of three: yes, no, or unknown with the reason why, and what is made of
// answers keeps that: an unknown operand makes the whole unknown only where it
// could change it (Kleene's logic). A matcher that this package does not know is
// Unknown, never a guess.
package match

// Truth is what a matcher says.
type Truth int8

// The three truths, in the order in which And takes the least and Or the
// greatest.
const (
	False Truth = iota
	Unknown
	True
)

// Answer is a truth and, where it is Unknown, why nobody can say.
type Answer struct {
	Truth Truth
	// Why is a reason for people, such as "needs the body of the request"; empty
	// unless Truth is Unknown.
	Why string
}

// Yes and No are the answers that need no reason.
var (
	Yes = Answer{Truth: True}
	No  = Answer{Truth: False}
)

// Cannot is the answer of a matcher that cannot say, with the reason.
func Cannot(why string) Answer { return Answer{Truth: Unknown, Why: why} }

// Is turns a plain comparison into an answer.
func Is(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// Not turns an answer around; unknown stays.
func (a Answer) Not() Answer { return Answer{Truth: True - a.Truth, Why: a.Why} }

// And is true where all operands are, which none are too. Operands are asked in
// order until one is false; the reason is the first unknown's.
func And[T any](operands []T, ask func(T) Answer) Answer {
	out := Yes
	for _, o := range operands {
		switch a := ask(o); a.Truth {
		case False:
			return No
		case Unknown:
			if out.Truth == True {
				out = a
			}
		case True:
		}
	}
	return out
}

// Or is true where one operand is, and false where there are none. Operands are
// asked in order until one is true; the reason is the first unknown's.
func Or[T any](operands []T, ask func(T) Answer) Answer {
	out := No
	for _, o := range operands {
		switch a := ask(o); a.Truth {
		case True:
			return Yes
		case Unknown:
			if out.Truth == False {
				out = a
			}
		case False:
		}
	}
	return out
}
