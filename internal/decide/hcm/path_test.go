// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"math/rand/v2"
	"testing"
)

// TestPathsAreNormalisedLikeThis has what Envoy 1.40 made of these paths, in
// particular what a first version of this package got wrong.
func TestPathsAreNormalisedLikeThis(t *testing.T) {
	for path, want := range map[string]string{
		"/a/./b": "/a/b", "/a/../b": "/b", "/..": "/", "/../..": "/", "/a/b/..": "/a/", "/a/b/.": "/a/b/", "/a//../b": "/a/b",
		"/a/%2e/b": "/a/b", "/a/%2E%2e/b": "/b", "/a/.%2e/b": "/b", "/a/%2e%2e%2f": "/a/..%2f", "/a/...": "/a/...", "/%2e%2e%2e": "/...",
		`/a\b`: "/a/b", `/a/..\b`: "/b", "/a%5c..%5cb": "/a%5c..%5cb",
		"/%41%7e%2D%5f": "/A~-_", "/%2f%C3%a4": "/%2f%C3%a4", "/%": "/%", "/%2": "/%2", "/%zz": "/%zz", "/%252e%252e/": "/%252e%252e/",
		`/"<>^` + "`{|}": "/%22%3C%3E%5E%60%7B%7C%7D", "/a?/../b": "/a?/../b", "//": "//",
		// A lone percent sign must not find its digits by unescaping.
		"/%2%65": "/%252e", "/%%41b": "/%25Ab", "/%%32e": "/%252e", "/%%32g": "/%2g", "/%a%41": "/%25aA", "/a%2%41%41": "/a%252AA",
		"/%/../ab%41": "/abA",
		// Parameters of dot segments, in plain text only.
		"/a/..;/b": "/b", "/a/.;x/b": "/a/b", "/a/..;x%2fy/b": "/b", "/a/...;x/b": "/a/...;x/b", "/a/%2e%2e;x/b": "/a/..;x/b", "/a/..%3bx/b": "/a/..%3bx/b",
		"/a/b;x/../c": "/a/c", `/a/..;x\b`: "/",
	} {
		if got, ok := NormalizePath(path); !ok || got != want {
			t.Errorf("%s: %s %v, want %s", path, got, ok, want)
		}
	}
	if got, ok := NormalizePath("/%00"); ok {
		t.Errorf("a null byte is not refused: %s", got)
	}
}

func TestSlashesAreMergedInThePathOnly(t *testing.T) {
	for path, want := range map[string]string{
		"//a///b//?x//y": "/a/b/?x//y", "/a": "/a", "a//b": "a/b",
		"///": "//", "//?": "//?", // Envoy leaves two where there is nothing else
	} {
		if got := MergeSlashes(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestAPathThatIsCanonicalStaysAsItIs(t *testing.T) {
	letters := []byte("/.a;%2eE\\ ~\"\x00\x7f\xc3")
	canonicals := 0
	for seed := range uint64(50_000) {
		r := rand.New(rand.NewPCG(seed, 0))
		path := make([]byte, r.IntN(8))
		for i := range path {
			path[i] = letters[min(r.IntN(2*len(letters)), r.IntN(len(letters)))]
		}
		if !isCanonical(string(path)) {
			continue
		}
		canonicals++
		c := canonical{invalid: -1}
		if ok := c.run(stripDotParameters(string(path))); !ok || string(c.out) != string(path) {
			t.Fatalf("%q becomes %q", path, c.out)
		}
	}
	if canonicals < 1000 {
		t.Errorf("%d paths are canonical: too few to say anything", canonicals)
	}
}

func TestTheNormalFormOfAPathIsStable(t *testing.T) {
	for _, path := range []string{"/%%32e", "/a/..;/b", `/"\..`, "/%2%2%41"} {
		once, _ := NormalizePath(path)
		if twice, _ := NormalizePath(once); twice != once {
			t.Errorf("%s: %s, then %s", path, once, twice)
		}
	}
}
