// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package atom

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"strings"
)

// automaton runs several regular expressions over one text at a time. The first is
// the language's; it decides which texts count.
type automaton struct {
	programs []*syntax.Prog
	// offset of each program's instructions in the common numbering.
	offset []int
	// letters are one character of each class that no instruction tells apart.
	letters []rune
}

// newAutomaton is nil where a pattern cannot be part of one.
func newAutomaton(l Language, patterns []Pattern) *automaton {
	a := &automaton{}
	size := 0
	for _, p := range append([]Pattern{l.pattern()}, patterns...) {
		program := p.compile().program
		if program == nil {
			return nil
		}
		a.programs = append(a.programs, program)
		a.offset = append(a.offset, size)
		size += len(program.Inst)
	}
	a.letters = a.classes(l.Alphabet)
	return a
}

// classes are the characters that some instruction tells apart, the first of each
// class by the order of the alphabet.
func (a *automaton) classes(alphabet string) []rune {
	distinct := map[string]*syntax.Inst{}
	for _, p := range a.programs {
		for i := range p.Inst {
			if in := &p.Inst[i]; runes(in.Op) {
				distinct[instructionKey(in)] = in
			}
		}
	}
	seen := map[string]bool{}
	var out []rune
	for _, r := range alphabet {
		var key strings.Builder
		// The order of a map differs from one iteration to the next.
		var takes []string
		for name, in := range distinct {
			if in.MatchRune(r) {
				takes = append(takes, name)
			}
		}
		slices.Sort(takes)
		for _, name := range takes {
			key.WriteString(name + "\x00")
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			out = append(out, r)
		}
	}
	return out
}

func instructionKey(in *syntax.Inst) string {
	raw := []byte{byte(in.Op), byte(in.Arg)}
	for _, r := range in.Rune {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(r))
	}
	return string(raw)
}

func runes(op syntax.InstOp) bool {
	return op == syntax.InstRune || op == syntax.InstRune1 || op == syntax.InstRuneAny || op == syntax.InstRuneAnyNotNL
}

// place is a state of the automaton and the shortest text that leads to it.
type place struct {
	counters []uint32
	text     string
}

// each visits every state in which the language takes the text, with which
// patterns take it too, until visit returns false. It is false where there are too
// many states.
func (a *automaton) each(visit func(text string, takes []bool) bool) bool {
	first := place{}
	for i, p := range a.programs {
		first.counters = append(first.counters, uint32(a.offset[i]+p.Start))
	}
	seen := map[string]bool{stateKey(first.counters): true}
	queue := []place{first}
	for n := 0; n < len(queue); n++ {
		at := queue[n]
		if takes := a.takes(at); takes[0] && !visit(at.text, takes[1:]) {
			return true
		}
		open := a.closure(at.counters, at.text == "", false)
		for _, letter := range a.letters {
			next := a.step(open, letter)
			// The language's own program comes first: without it nothing counts.
			if len(next) == 0 || int(next[0]) >= len(a.programs[0].Inst) {
				continue
			}
			if key := stateKey(next); !seen[key] {
				if len(seen) >= maxStates {
					return false
				}
				seen[key] = true
				queue = append(queue, place{next, at.text + string(letter)})
			}
		}
	}
	return true
}

func stateKey(counters []uint32) string {
	raw := make([]byte, 0, 4*len(counters))
	for _, c := range counters {
		raw = binary.LittleEndian.AppendUint32(raw, c)
	}
	return string(raw)
}

// instruction finds one by its common number.
func (a *automaton) instruction(counter uint32) (program int, in *syntax.Inst) {
	at, exact := slices.BinarySearch(a.offset, int(counter))
	if !exact {
		at--
	}
	return at, &a.programs[at].Inst[int(counter)-a.offset[at]]
}

// closure follows what takes no character.
func (a *automaton) closure(counters []uint32, start, end bool) []uint32 {
	var met syntax.EmptyOp
	if start {
		met |= syntax.EmptyBeginText
	}
	if end {
		met |= syntax.EmptyEndText
	}
	seen := map[uint32]bool{}
	var out []uint32
	stack := slices.Clone(counters)
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[c] {
			continue
		}
		seen[c] = true
		program, in := a.instruction(c)
		base := uint32(a.offset[program])
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, base+in.Out, base+in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, base+in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^met == 0 {
				stack = append(stack, base+in.Out)
			}
		case syntax.InstMatch, syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			out = append(out, c)
		case syntax.InstFail:
		}
	}
	return out
}

// step takes one character. What waits for the end of the text is kept: it is
// followed when the text ends (takes).
func (a *automaton) step(open []uint32, letter rune) []uint32 {
	var out []uint32
	for _, c := range open {
		program, in := a.instruction(c)
		if runes(in.Op) && in.MatchRune(letter) {
			out = append(out, uint32(a.offset[program])+in.Out)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// takes says which programs take the text as it is.
func (a *automaton) takes(at place) []bool {
	out := make([]bool, len(a.programs))
	for _, c := range a.closure(at.counters, at.text == "", true) {
		if program, in := a.instruction(c); in.Op == syntax.InstMatch {
			out[program] = true
		}
	}
	return out
}
