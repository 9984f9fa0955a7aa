// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package atom

import (
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
)

// Kind is how a Pattern compares.
type Kind int8

// The kinds. Regex takes the whole text, as Envoy does. Present takes every text.
// Range takes the addresses of a CIDR block. Segments takes a path and all below it,
// which is what an exact path and a prefix that ends in a slash take together; AnyPort
// a host with any port and without one.
const (
	Exact Kind = iota
	Prefix
	Suffix
	Contains
	Regex
	Present
	Range
	Segments
	AnyPort
)

// Pattern is one matcher of a text. It may be a map key.
type Pattern struct {
	Kind Kind
	Text string
	// Fold: letters count as the same in upper and lower case.
	Fold bool
}

// Match compares a text. A regular expression that Go cannot read matches nothing.
func (p Pattern) Match(s string) bool {
	text := p.Text
	if p.Fold && p.Kind != Regex {
		s, text = strings.ToLower(s), strings.ToLower(text)
	}
	switch p.Kind {
	case Exact:
		return s == text
	case Prefix:
		return strings.HasPrefix(s, text)
	case Suffix:
		return strings.HasSuffix(s, text)
	case Contains:
		return strings.Contains(s, text)
	case Present:
		return true
	case Segments:
		return begins(s, text, '/')
	case AnyPort:
		return begins(s, text, ':')
	case Range:
		return inRange(s, text)
	case Regex:
		compiled := p.compile()
		return compiled.match != nil && compiled.match.MatchString(s)
	}
	return false
}

// begins reports whether a text is another one, or goes on behind it with a separator.
func begins(s, with string, separator byte) bool {
	rest, found := strings.CutPrefix(s, with)
	return found && (rest == "" || rest[0] == separator)
}

func inRange(s, cidr string) bool {
	block, err := netip.ParsePrefix(cidr)
	address, wrong := netip.ParseAddr(s)
	return err == nil && wrong == nil && block.Contains(address)
}

// expression is the pattern as a regular expression of the whole text.
func (p Pattern) expression() string {
	text := p.Text
	if p.Kind != Regex {
		text = regexp.QuoteMeta(p.Text)
	}
	switch p.Kind {
	case Prefix:
		text += "(?s:.*)"
	case Suffix:
		text = "(?s:.*)" + text
	case Contains:
		text = "(?s:.*)" + text + "(?s:.*)"
	case Present:
		text = "(?s:.*)"
	case Segments:
		text += "(?s:/.*)?"
	case AnyPort:
		text += "(?s::.*)?"
	case Exact, Regex, Range:
	}
	if p.Fold {
		text = "(?i:" + text + ")"
	}
	return `\A(?:` + text + `)\z`
}

// compiled is a pattern in the form that automata need; program is nil where
// it cannot be one.
type compiled struct {
	program *syntax.Prog
	match   *regexp.Regexp
}

// known remembers what has been compiled: the same few expressions guard every
// workload.
var known sync.Map

// rememberedPatterns bounds known: patterns come from outside.
const rememberedPatterns = 10_000

var rememberedCount struct {
	sync.Mutex
	n int
}

func (p Pattern) compile() compiled {
	if c, ok := known.Load(p); ok {
		if typed, ok := c.(compiled); ok {
			return typed
		}
	}
	out := compiled{}
	if parsed, err := syntax.Parse(p.expression(), syntax.Perl); err == nil {
		if program, err := syntax.Compile(parsed.Simplify()); err == nil && plain(program) {
			out.program = program
		}
	}
	out.match, _ = regexp.Compile(p.expression())
	rememberedCount.Lock()
	defer rememberedCount.Unlock()
	if rememberedCount.n < rememberedPatterns {
		rememberedCount.n++
		known.Store(p, out)
	}
	return out
}

// plain reports whether a program looks at nothing but the text's ends.
func plain(program *syntax.Prog) bool {
	for i := range program.Inst {
		if in := &program.Inst[i]; in.Op == syntax.InstEmptyWidth &&
			syntax.EmptyOp(in.Arg)&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary|syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0 {
			return false
		}
	}
	return true
}
