// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package class

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
)

// Kind is what of a request a dimension is, in the order in which they are split.
type Kind int8

// The kinds of dimensions.
const (
	Host Kind = iota
	Path
	Method
	// Identity is the client's certificate: the SPIFFE ID in it.
	Identity
	// Address is where the connection comes from.
	Address
	// Header is one header, by its name in lower case.
	Header
	// Parameter is one parameter of the query.
	Parameter
	// Token is whose token it has: the issuer's name.
	Token
	// Claim is one claim of the token, by its path with dots.
	Claim
)

// Dimension is one thing that matchers look at.
type Dimension struct {
	Kind Kind
	Name string
}

// Value is what a class has in one dimension: all texts that take the same
// patterns.
type Value struct {
	// Absent: there is no such header, parameter, token or claim.
	Absent bool
	// Texts are a witness; more than one only for claims that are lists.
	Texts []string
	// Single: no other text is in the class.
	Single bool
	// Patterns and Signs say what it takes.
	Patterns []atom.Pattern
	Signs    []bool
}

// Text is the witness where there is one.
func (v Value) Text() string {
	if len(v.Texts) == 0 {
		return ""
	}
	return v.Texts[0]
}

// Takes is whether all texts of the class take a pattern, and whether that is known.
func (v Value) Takes(p atom.Pattern) (sign, known bool) {
	if v.Absent {
		return false, true
	}
	if i := slices.Index(v.Patterns, p); i >= 0 {
		return v.Signs[i], true
	}
	if p.Kind == atom.Present {
		return true, true
	}
	if v.Single {
		return slices.ContainsFunc(v.Texts, p.Match), true
	}
	return false, false
}

// Has reports whether a text of the dimension belongs to the class; absent is for
// one that is not there.
func (v Value) Has(absent bool, texts ...string) bool {
	if absent || v.Absent {
		return absent == v.Absent
	}
	for i, p := range v.Patterns {
		if slices.ContainsFunc(texts, p.Match) != v.Signs[i] {
			return false
		}
	}
	return true
}

var languages = map[Kind]atom.Language{
	Host:      atom.Hosts,
	Path:      atom.Paths,
	Method:    atom.Methods,
	Identity:  atom.Identities,
	Address:   atom.Addresses,
	Header:    atom.HeaderValues,
	Parameter: atom.ParameterValues,
	Token:     atom.Issuers,
	Claim:     atom.ClaimValues,
}

// maxSets bounds of how many values every combination is tried in claims that are
// lists.
const maxSets = 4

// Split are the classes of a dimension by the patterns that are known of it and
// new ones, within the class that it is in already. Complete as in atom.Split.
func Split(d Dimension, was Value, has bool, fresh []atom.Pattern, preferred []string) (out []Value, complete bool) {
	patterns := slices.Clone(was.Patterns)
	for _, p := range fresh {
		if !slices.Contains(patterns, p) {
			patterns = append(patterns, p)
		}
	}
	language := languages[d.Kind]
	if len(preferred) > 0 {
		language.Preferred = slices.Concat(preferred, language.Preferred)
	}
	classes, complete := atom.Split(language, patterns)
	if d.Kind.Optional() && !has {
		out = append(out, Value{Absent: true})
	}
	var values []Value
	for _, c := range classes {
		values = append(values, Value{Texts: []string{c.Witness}, Single: c.Single && d.Kind != Claim, Patterns: patterns, Signs: c.Signs})
	}
	if d.Kind == Claim {
		var all bool
		values, all = lists(values)
		complete = complete && all
	}
	for _, v := range values {
		if !has || consistent(was, v) {
			out = append(out, v)
		}
	}
	if len(out) == 0 && has {
		out = append(out, was.against(patterns))
	}
	return out, complete
}

// against is a class whose witness the language does not have: it is in its class
// all the same.
func (v Value) against(patterns []atom.Pattern) Value {
	out := Value{Texts: v.Texts, Single: v.Single, Patterns: patterns}
	for _, p := range patterns {
		out.Signs = append(out.Signs, slices.ContainsFunc(v.Texts, p.Match))
	}
	return out
}

// Optional reports whether requests may have nothing of the kind.
func (k Kind) Optional() bool { return k == Header || k == Parameter || k == Token || k == Claim }

func consistent(was, is Value) bool {
	for i := range was.Patterns {
		if was.Signs[i] != is.Signs[i] {
			return false
		}
	}
	return true
}

// lists adds claims with several values.
func lists(values []Value) ([]Value, bool) {
	var named []Value
	for _, v := range values {
		if slices.Contains(v.Signs, true) {
			named = append(named, v)
		}
	}
	seen := map[string]bool{}
	for _, v := range values {
		seen[signature(v.Signs)] = true
	}
	add := func(members []Value) {
		if len(members) < 2 {
			return
		}
		union := Value{Patterns: members[0].Patterns, Signs: make([]bool, len(members[0].Signs))}
		for _, m := range members {
			union.Texts = append(union.Texts, m.Texts...)
			for i, sign := range m.Signs {
				union.Signs[i] = union.Signs[i] || sign
			}
		}
		if key := signature(union.Signs); !seen[key] {
			seen[key] = true
			values = append(values, union)
		}
	}
	if len(named) > maxSets {
		add(named)
		for i := range named {
			add(slices.Delete(slices.Clone(named), i, i+1))
		}
		return values, false
	}
	for set := 1; set < 1<<len(named); set++ {
		var members []Value
		for i := range named {
			if set>>i&1 == 1 {
				members = append(members, named[i])
			}
		}
		add(members)
	}
	return values, true
}

func signature(signs []bool) string {
	var b strings.Builder
	for _, s := range signs {
		if s {
			b.WriteByte('1')
		} else {
			b.WriteByte('0')
		}
	}
	return b.String()
}

// String is in words.
func (d Dimension) String() string {
	name := [...]string{
		"the host", "the path", "the method", "the client's identity", "the client's address", "header", "parameter", "the token's issuer", "claim",
	}[d.Kind]
	if d.Name != "" {
		name += " " + strings.ReplaceAll(d.Name, "\x00", ".")
	}
	return name
}
