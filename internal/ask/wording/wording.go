// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package wording says in few characters which methods, paths and token a class of requests
// has: all of them, where an answer shows only one by its witness.
package wording

import (
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
)

// Any is a method or path that nothing looks at.
const Any = "*"

// butNot stands before what a class leaves out: "/orders/* but not /orders/private/*".
const butNot = " but not "

// Of is all of a class in one dimension, and not only its witness: who reads
// "GET /" of a workload that nothing protects would think that all else is closed.
func Of(p *class.Point, kind class.Kind) string {
	v, settled := p.Value(class.Dimension{Kind: kind})
	switch {
	case !settled:
		return Any
	case v.Single:
		return v.Text()
	}
	var taken []atom.Pattern
	for i, pattern := range v.Patterns {
		if v.Signs[i] && pattern.Kind != atom.Present {
			taken = append(taken, pattern)
		}
	}
	taken = slices.DeleteFunc(taken, func(wide atom.Pattern) bool {
		return slices.ContainsFunc(taken, func(narrow atom.Pattern) bool { return narrow != wide && within(narrow, wide) })
	})
	var left []string
	for i, pattern := range v.Patterns {
		if !v.Signs[i] && !odd(pattern) && !slices.ContainsFunc(taken, func(t atom.Pattern) bool { return apart(pattern, t) }) {
			left = append(left, written(pattern))
		}
	}
	words := make([]string, 0, len(taken))
	for _, pattern := range taken {
		words = append(words, written(pattern))
	}
	if len(words) == 0 {
		words = []string{Any}
	}
	out := strings.Join(words, " and ")
	if len(left) > 0 {
		slices.Sort(left)
		out += butNot + strings.Join(slices.Compact(left), ", ")
	}
	return out
}

// odd reports whether a pattern takes the ways of writing a path that are refused
// everywhere, and nothing of what people write: to leave that out goes without saying.
func odd(p atom.Pattern) bool {
	return p.Match("/a//b") && p.Match("/a;b") && p.Match("/a%2fb") && !p.Match("/a/b") && !p.Match("/")
}

// Value is what a class has of a token or claim, one text for each of its values: a
// value that some rule names, or the pattern that it takes.
func Value(v class.Value) []string {
	out := make([]string, 0, len(v.Texts))
	for _, text := range v.Texts {
		said := "any other"
		for i, pattern := range v.Patterns {
			if i >= len(v.Signs) || !v.Signs[i] || !pattern.Match(text) {
				continue
			}
			if pattern.Kind == atom.Exact {
				said = text
				break
			}
			if said == "any other" || said == Any {
				said = written(pattern)
			}
		}
		if v.Single {
			said = text
		}
		out = append(out, said)
	}
	return out
}

// Token is what is settled of a class's token, one text for each value: "issuer
// https://login.example.com", "scope admin".
func Token(p *class.Point) []string {
	var out []string
	p.Each(func(d class.Dimension, v class.Value) {
		switch {
		case v.Absent:
		case d.Kind == class.Token:
			out = append(out, "issuer "+Value(v)[0])
		case d.Kind == class.Claim:
			if !slices.Contains(v.Signs, true) {
				return
			}
			for _, t := range Value(v) {
				out = append(out, strings.ReplaceAll(d.Name, "\x00", ".")+" "+t)
			}
		}
	})
	return out
}

// written is a pattern as people write it.
func written(p atom.Pattern) string {
	if odd(p) {
		return "odd ways of writing a path"
	}
	switch p.Kind {
	case atom.Prefix:
		return p.Text + "*"
	case atom.Suffix:
		return "*" + p.Text
	case atom.Contains:
		return "*" + p.Text + "*"
	case atom.Regex:
		return "~" + p.Text
	case atom.Segments:
		return p.Text + "[/*]"
	case atom.AnyPort:
		return p.Text + "[:*]"
	case atom.Present:
		return Any
	case atom.Exact, atom.Range:
	}
	return p.Text
}

// separators are what follows a pattern's text where anything may.
var separators = map[atom.Kind]string{atom.Segments: "/", atom.AnyPort: ":"}

// within reports whether each text that takes the one pattern is sure to take the
// other.
func within(narrow, wide atom.Pattern) bool {
	switch narrow.Kind {
	case atom.Exact:
		return wide.Match(narrow.Text)
	case atom.Prefix:
		return beginning(wide) && strings.HasPrefix(narrow.Text, wide.Text+separators[wide.Kind])
	case atom.Segments, atom.AnyPort:
		return (wide.Kind == atom.Prefix || wide.Kind == narrow.Kind) && wide.Match(narrow.Text)
	case atom.Suffix:
		return wide.Kind == atom.Suffix && wide.Match(narrow.Text)
	case atom.Contains, atom.Regex, atom.Present, atom.Range:
	}
	return false
}

// apart reports whether it is sure that no text takes both.
func apart(a, b atom.Pattern) bool {
	switch {
	case a.Kind == atom.Exact:
		return !b.Match(a.Text)
	case b.Kind == atom.Exact:
		return !a.Match(b.Text)
	case a.Kind == atom.Suffix && b.Kind == atom.Suffix, beginning(a) && beginning(b):
		return !within(a, b) && !within(b, a)
	}
	return false
}

// beginning reports whether only how a text begins decides.
func beginning(p atom.Pattern) bool {
	return p.Kind == atom.Prefix || p.Kind == atom.Segments || p.Kind == atom.AnyPort
}

// Together joins the words of classes that a row has: what one leaves out and
// another has is not left out, and needs no words of its own.
func Together(words []string) []string {
	had := map[string]bool{}
	var out []string
	for _, text := range words {
		whole, left, some := strings.Cut(text, butNot)
		if !some {
			out = append(out, text)
			continue
		}
		var still []string
		for _, one := range strings.Split(left, ", ") {
			if slices.Contains(words, one) {
				had[one] = true
				continue
			}
			still = append(still, one)
		}
		if len(still) > 0 {
			whole += butNot + strings.Join(still, ", ")
		}
		out = append(out, whole)
	}
	return slices.DeleteFunc(out, func(text string) bool { return had[text] })
}
