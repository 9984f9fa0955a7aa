// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package wording

import (
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
)

var (
	patterns = []atom.Pattern{
		{Kind: atom.Exact, Text: "/a"}, {Kind: atom.Exact, Text: "/a/b"}, {Kind: atom.Prefix, Text: "/a"}, {Kind: atom.Prefix, Text: "/a/"}, {Kind: atom.Prefix, Text: "/a/b/"},
		{Kind: atom.Segments, Text: "/a"}, {Kind: atom.Segments, Text: "/a/b"}, {Kind: atom.Segments, Text: "/ab"}, {Kind: atom.Suffix, Text: "/b"}, {Kind: atom.Suffix, Text: "b"},
		{Kind: atom.Contains, Text: "b"}, {Kind: atom.Regex, Text: "/a/.*"},
	}
	texts = []string{"/", "/a", "/ab", "/a/", "/a/b", "/a/bc", "/a/b/", "/a/b/c", "/b", "/c/b", "/abc/b", "/ab/b"}
)

// TestWhatIsSureOfPatternsIsSo holds two claims to every text.
func TestWhatIsSureOfPatternsIsSo(t *testing.T) {
	sure := 0
	for _, a := range patterns {
		for _, b := range patterns {
			for _, text := range texts {
				if within(a, b) && a.Match(text) && !b.Match(text) {
					t.Errorf("%s is not within %s: %s", written(a), written(b), text)
				}
				if apart(a, b) && a.Match(text) && b.Match(text) {
					t.Errorf("%s and %s are not apart: %s", written(a), written(b), text)
				}
			}
			if within(a, b) || apart(a, b) {
				sure++
			}
		}
	}
	if sure < 30 {
		t.Errorf("only %d pairs are sure", sure)
	}
}

func TestWhatIsLeftOutAndThereAllTheSameIsNotLeftOut(t *testing.T) {
	for _, c := range []struct{ words, want []string }{
		{[]string{"GET", "* but not GET"}, []string{"*"}},
		{[]string{"* but not GET, POST", "POST"}, []string{"* but not GET"}},
		{[]string{"/a/*", "/b"}, []string{"/a/*", "/b"}},
		{nil, nil},
	} {
		if got := Together(c.words); !slices.Equal(got, c.want) {
			t.Errorf("%q together are %q, want %q", c.words, got, c.want)
		}
	}
}
