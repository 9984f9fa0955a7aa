// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package atom splits texts into classes that a set of patterns cannot tell apart
// inside: its atomic predicates. Each class comes with one text that is in it.
//
// Where all patterns are exact texts and prefixes the classes are read off the
// patterns; with suffixes and regular expressions they are found by walking the
// automaton of all patterns together, which meets every class there is. A bound on
// its size keeps odd patterns from taking for ever, and the result says when it was
// hit.
package atom
