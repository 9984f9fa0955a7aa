// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package atom

import (
	"net/netip"
	"strings"
	"sync"
)

// Class is a set of texts that take the same patterns.
type Class struct {
	// Witness is one of its texts.
	Witness string
	// Signs say, for each pattern in the order in which they were given, whether the
	// texts take it.
	Signs []bool
	// Single: the witness is the only text.
	Single bool
}

// Language are the texts of one dimension.
type Language struct {
	// Every text of the language takes this one: a regular expression of the whole
	// text.
	Text string
	// Alphabet are the characters that witnesses are made of, the nicest first.
	Alphabet string
	// Preferred are texts that people like to read; where one is in a class it is
	// the witness.
	Preferred []string
	// Other makes texts that begin, or end, with one, and go on with something that
	// nobody writes.
	Other func(text string, kind Kind) []string
	// Beyond is what clients may send and proxies usually change: a pattern that takes
	// no text of the language gets a class of its own there. Nil: nothing is.
	Beyond *Language
}

// maxStates bounds how many states of the automaton are visited.
const maxStates = 20_000

// Split finds every class of the language. Complete is false where a pattern
// cannot be put into an automaton, or the automaton is too large: then there may be
// more classes.
func Split(l Language, patterns []Pattern) (classes []Class, complete bool) {
	s := &splitter{language: l, patterns: patterns, found: map[string]int{}, complete: true}
	for _, text := range l.Preferred {
		s.add(text)
	}
	kinds := map[Kind]bool{}
	for _, p := range patterns {
		if p.Kind == Exact || p.Kind == Present || p.Kind == Range || l.meets(p) {
			s.literal(p)
			kinds[p.Kind] = true
			kinds[Prefix] = kinds[Prefix] || p.Kind == Segments || p.Kind == AnyPort
		} else if l.Beyond != nil {
			s.beyond(p)
		}
	}
	for _, text := range l.Other("", Exact) {
		s.add(text)
	}
	// Beginnings alone, and ends alone, have their classes at themselves and behind
	// themselves: any other text takes what the longest of them in it takes.
	if kinds[Regex] || kinds[Contains] || kinds[Prefix] && kinds[Suffix] {
		s.walk()
	}
	return s.classes, s.complete
}

type splitter struct {
	language Language
	patterns []Pattern
	classes  []Class
	found    map[string]int
	complete bool
}

// literal adds the classes at the text of a pattern, and beside it.
func (s *splitter) literal(p Pattern) {
	switch p.Kind {
	case Exact:
		s.add(p.Text)
	case Prefix, Suffix, Segments, AnyPort:
		s.add(p.Text)
		for _, text := range s.language.Other(p.Text, p.Kind) {
			s.add(text)
		}
	case Range:
		if block, err := netip.ParsePrefix(p.Text); err == nil {
			s.add(block.Masked().Addr().String())
			if after := afterBlock(block); after.IsValid() {
				s.add(after.String())
			}
		}
	case Contains, Regex, Present:
	}
}

// afterBlock is the first address behind a block: between the beginnings of blocks
// and these there is no other class.
func afterBlock(block netip.Prefix) netip.Addr {
	raw := block.Masked().Addr().AsSlice()
	for bit := block.Bits(); bit < 8*len(raw); bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last.Next()
}

// beyond adds a text that only the larger language has.
func (s *splitter) beyond(p Pattern) {
	if text, ok := s.language.Beyond.Sample(p); ok {
		s.put(text)
	}
}

func (s *splitter) add(text string) {
	if s.language.has(text) {
		s.put(text)
	}
}

func (s *splitter) put(text string) {
	signs := make([]bool, len(s.patterns))
	single := false
	var key strings.Builder
	for i, p := range s.patterns {
		signs[i] = p.Match(text)
		single = single || signs[i] && p.Kind == Exact
		key.WriteByte("01"[b2i(signs[i])])
	}
	if _, ok := s.found[key.String()]; ok {
		return
	}
	s.found[key.String()] = len(s.classes)
	s.classes = append(s.classes, Class{Witness: text, Signs: signs, Single: single})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (l Language) pattern() Pattern { return Pattern{Kind: Regex, Text: l.Text} }

func (l Language) has(text string) bool { return l.pattern().Match(text) }

// meets reports whether a pattern takes any text of the language at all.
func (l Language) meets(p Pattern) bool {
	key := metKey{l.Text, p}
	if met, ok := metBefore.Load(key); ok {
		return met == true
	}
	met := l.meet(p)
	if p.Kind == Regex {
		// Others are as many as there are paths, and cheap.
		metBefore.Store(key, met)
	}
	return met
}

type metKey struct {
	language string
	pattern  Pattern
}

var metBefore sync.Map

func (l Language) meet(p Pattern) bool {
	if p.Kind != Regex {
		for _, r := range p.Text {
			if !strings.ContainsRune(l.Alphabet, r) {
				return false
			}
		}
		for _, text := range append(l.Other(p.Text, p.Kind), p.Text) {
			if l.has(text) && p.Match(text) {
				return true
			}
		}
	}
	a := newAutomaton(l, []Pattern{p})
	if a == nil {
		return true
	}
	met := false
	a.each(func(_ string, takes []bool) bool {
		met = takes[0]
		return !met
	})
	return met
}

// Sample is a text of the language that takes a pattern, found by its automaton.
func (l Language) Sample(p Pattern) (string, bool) {
	a := newAutomaton(l, []Pattern{p})
	if a == nil {
		return "", false
	}
	out, ok := "", false
	a.each(func(text string, takes []bool) bool {
		if takes[0] {
			out, ok = text, true
		}
		return !ok
	})
	return out, ok
}

// walk visits the automaton of all patterns.
func (s *splitter) walk() {
	a := newAutomaton(s.language, s.patterns)
	if a == nil {
		s.complete = false
		return
	}
	seen := map[string]bool{}
	all := a.each(func(text string, takes []bool) bool {
		key := make([]byte, len(takes))
		for i, t := range takes {
			key[i] = "01"[b2i(t)]
		}
		if !seen[string(key)] {
			seen[string(key)] = true
			s.add(text)
		}
		return true
	})
	s.complete = s.complete && all
}
