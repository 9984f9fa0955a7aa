// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// randomExpression writes an expression of the parts that meshes have, most of which
// are read without the machine of expressions.
func randomExpression(r *rand.Rand, depth int) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		part := []string{
			"a", "/", "/a", "b.", `\.`, ".*", ".+", "[^/]+", "[^/]*", "[^a]+?", "[ab]", "[^/]", "(?i)a", "(?s).*", `\n`, "é", "a?", "a{2}", "$", "^", "%2[fF]",
			"//", `[^\n]*`, "[^é]+", "(.*)", "()", `\x{fffd}`, "[^a-c]+",
		}[r.IntN(28)]
		if depth > 0 && r.IntN(4) == 0 {
			part = "(" + randomExpression(r, depth-1) + "|" + randomExpression(r, depth-1) + ")" + []string{"", "+", "?"}[r.IntN(3)]
		}
		b.WriteString(part)
	}
	return b.String()
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(7) {
		b.WriteString([]string{"a", "/", "b", ".", "\n", "é", "A", "%2f", "\ufffd", "c"}[r.IntN(10)])
	}
	return b.String()
}

// compareWithRegexp gives the compiled expression; nil where it is none.
func compareWithRegexp(t *testing.T, expression string, texts ...string) *Regex {
	t.Helper()
	r, err := newRegex(expression)
	if err != nil || r.compiled == nil {
		return nil
	}
	whole := regexp.MustCompile(`\A(?:` + expression + `)\z`)
	for _, text := range texts {
		if got, want := r.Match(text), whole.MatchString(text); utf8.ValidString(text) && got != Is(want) {
			t.Errorf("%q of %q: %+v, but the expression says %v", text, expression, got, want)
		}
	}
	return r
}

func TestWhatIsReadOutOfAnExpressionSaysTheSame(t *testing.T) {
	plain, needing := 0, 0
	for seed := range uint64(10_000) {
		r := rand.New(rand.NewPCG(seed, 0))
		texts := make([]string, 16)
		for i := range texts {
			texts[i] = randomText(r)
		}
		compiled := compareWithRegexp(t, randomExpression(r, 2), texts...)
		switch {
		case compiled == nil:
		case compiled.plain != nil:
			plain++
		case len(compiled.needs) > 0:
			needing++
		}
	}
	if plain < 1000 || needing < 1000 {
		t.Errorf("%d are plain and %d need a text: too few to say anything", plain, needing)
	}
}

func TestSuspiciousPathsAreFoundByTheirTexts(t *testing.T) {
	r, err := newRegex(`.*(//|\\|;|%2[fF]|%5[cC]|%00|/\.\.?(/|$)).*`)
	if err != nil || len(r.needs) == 0 {
		t.Fatalf("it needs %q: %v", r.needs, err)
	}
	if r.Match("/api/v1/items") != No || r.Match("/api/../x") != Yes || r.Match("/a%2Fb") != Yes || r.Match("/.x") != No {
		t.Error("it matches otherwise")
	}
}

func FuzzExpressions(f *testing.F) {
	for _, expression := range []string{".*", "/a/[^/]+/b", ".+@x", `.*(//|%2[fF]).*`, "(?i)bearer .*", "a|b|"} {
		f.Add(expression, "/a/x/b")
	}
	f.Fuzz(func(t *testing.T, expression, text string) { compareWithRegexp(t, expression, text) })
}
