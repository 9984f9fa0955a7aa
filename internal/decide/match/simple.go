// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// Most regular expressions of a mesh say little: a prefix, a path with one segment
// open, that something is there, or that a path has one of some suspicious texts in
// it. What they say is read out of their syntax here, since every request is
// compared with many of them.

// plain is an expression of a text, anything, and another text.
type plain struct {
	prefix, suffix string
	// open: there may be anything between them, of so many bytes at least, but for
	// one that it may not have.
	open    bool
	least   int
	without byte
}

func (p *plain) match(s string) bool {
	if !p.open {
		return s == p.prefix
	}
	if len(s) < len(p.prefix)+p.least+len(p.suffix) || !strings.HasPrefix(s, p.prefix) || !strings.HasSuffix(s, p.suffix) {
		return false
	}
	return strings.IndexByte(s[len(p.prefix):len(s)-len(p.suffix)], p.without) < 0
}

// simplified reads an expression that is valid: what says the same, nil where it is
// not that simple, and texts of which it needs one.
func simplified(text string) (*plain, []string) {
	e, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, nil
	}
	if p := plainOf(e); p != nil {
		return p, nil
	}
	return nil, neededBy(e, 0)
}

func plainOf(e *syntax.Regexp) *plain {
	parts := []*syntax.Regexp{e}
	if e.Op == syntax.OpConcat {
		parts = e.Sub
	}
	out := &plain{}
	for _, part := range parts {
		if part.Op == syntax.OpCapture {
			part = part.Sub[0]
		}
		text, literal := literalOf(part)
		switch {
		case literal && !out.open:
			out.prefix += text
		case literal:
			out.suffix += text
		case out.open || part.Op != syntax.OpStar && part.Op != syntax.OpPlus:
			return nil
		default:
			without, ok := allBut(part.Sub[0])
			if !ok {
				return nil
			}
			out.open, out.without = true, without
			if part.Op == syntax.OpPlus {
				out.least = 1
			}
		}
	}
	return out
}

// literalOf is the text that an expression is, if it is one.
func literalOf(e *syntax.Regexp) (string, bool) {
	if e.Op == syntax.OpLiteral && e.Flags&syntax.FoldCase == 0 && !slices.ContainsFunc(e.Rune, noText) {
		return string(e.Rune), true
	}
	return "", e.Op == syntax.OpEmptyMatch
}

// noText are the runes that no text has, or only one that is none.
func noText(r rune) bool { return r == utf8.RuneError || !utf8.ValidRune(r) }

// allBut is the one ASCII character that an expression of single characters leaves
// out.
func allBut(e *syntax.Regexp) (byte, bool) {
	switch e.Op {
	case syntax.OpAnyCharNotNL:
		return '\n', true
	case syntax.OpCharClass:
		// Two ranges around it.
		r := e.Rune
		if len(r) == 4 && r[0] == 0 && r[1]+2 == r[2] && r[2] < utf8.RuneSelf && r[3] == utf8.MaxRune {
			return byte(r[1] + 1), true
		}
	}
	return 0, false
}

// maximumNeeds bounds how many texts are looked for: more are no quicker than the
// expression.
const maximumNeeds = 16

// neededBy are texts of which all that an expression matches has one in it; none
// where that is not known.
func neededBy(e *syntax.Regexp, depth int) []string {
	if text, is := literalOf(e); is && text != "" {
		return []string{text}
	}
	if depth > maximumDepth {
		return nil
	}
	switch e.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return neededBy(e.Sub[0], depth+1)
	case syntax.OpConcat:
		for _, part := range e.Sub {
			if out := neededBy(part, depth+1); out != nil {
				return out
			}
		}
	case syntax.OpAlternate:
		var out []string
		for _, one := range e.Sub {
			needs := neededBy(one, depth+1)
			if needs == nil || len(out)+len(needs) > maximumNeeds {
				return nil
			}
			out = append(out, needs...)
		}
		return out
	case syntax.OpCharClass:
		return charactersOf(e.Rune)
	}
	return nil
}

// charactersOf are the characters of a class that has few.
func charactersOf(ranges []rune) []string {
	var out []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if len(out) == maximumNeeds || noText(r) {
				return nil
			}
			out = append(out, string(r))
		}
	}
	return out
}
