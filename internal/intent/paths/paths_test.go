// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package paths_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/intent/paths"
)

func exact(v string) paths.Path  { return paths.Path{Value: v} }
func prefix(v string) paths.Path { return paths.Path{Value: v, Prefix: true} }

func TestAPathMatchesWholeSegments(t *testing.T) {
	for _, c := range []struct {
		path    paths.Path
		request string
		want    bool
	}{
		{prefix("/api"), "/api", true},
		{prefix("/api"), "/api/", true},
		{prefix("/api"), "/api/x", true},
		{prefix("/api"), "/apix", false},
		{prefix("/api"), "/API", false},
		{prefix("/"), "/anything", true},
		{exact("/api"), "/api", true},
		{exact("/api"), "/api/", false},
	} {
		if got := c.path.Matches(c.request); got != c.want {
			t.Errorf("%+v matches %s: %v, want %v", c.path, c.request, got, c.want)
		}
	}
}

func TestPathsThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	for _, c := range []struct {
		value  string
		prefix bool
		ok     bool
	}{
		{"/", true, true}, {"/api/v1.2/~user", true, true}, {"/shop.Reviews/Get", false, true}, {"/api/", false, true},
		{"/mail/a@b", true, true}, {"/Mixed/Case", true, true}, {"/a...b", true, true},
		{"/api/", true, false}, {"api", true, false}, {"", false, false}, {"/a/../b", true, false}, {"/a/.", true, false},
		{"/a//b", true, false}, {"//", true, false}, {"/a%2Fb", true, false}, {"/a%2eb", true, false}, {"/%61", true, false},
		{"/a?b", false, false}, {"/a#b", false, false}, {"/a;b", true, false}, {`/a\b`, true, false}, {"/a b", true, false},
		{"/größe", true, false}, {"/a*", true, false}, {"/*", true, false}, {"/{id}", true, false}, {"/(a|b)", true, false},
		{"/a.*", true, false}, {"/[a-z]", true, false}, {"/^a", true, false}, {"/a$", false, false}, {"/a\x00", true, false},
	} {
		problem, fix := paths.Check(c.value, c.prefix)
		if (problem == "") != c.ok || (problem == "") != (fix == "") {
			t.Errorf("%q (prefix %v): problem %q, fix %q", c.value, c.prefix, problem, fix)
		}
	}
}

func TestWhatStandsInForAnUnusablePathCoversIt(t *testing.T) {
	for value, want := range map[string]string{
		"/a/../secret": "/secret", "/b//secret": "/b/secret", "/c%2Fsecret": "/c/secret", "/users/*/secret": "/users",
		"/f;v=1/secret": "/", `/g\secret`: "/g/secret", "/h/größe": "/h", "i/secret": "/i/secret", "/api/": "/api",
		"/d?secret": "/d", "/e#secret": "/e", "/%252e": "/", "/%zz": "/", "": "/", "*": "/", "/x/%00": "/x", "/end$": "/end", "/a.+": "/", "/v/.+/x": "/v",
	} {
		if got := paths.Stem(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func FuzzWhatStandsInForAPathCanBeUsed(f *testing.F) {
	for _, seed := range []string{"/a/../b", "%", "/%2f%2e%2e", "\\..\\", "*", "/a/%252e", "//"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		stem := paths.Stem(value)
		if problem, _ := paths.Check(stem, true); problem != "" {
			t.Errorf("%q stands in for %q: %s", stem, value, problem)
		}
	})
}

// owned is a path with its owner, for the plain reading below.
type owned struct {
	path  paths.Path
	owner int
}

func (o owned) beats(p owned) bool {
	return paths.MoreSpecific(o.path, p.path) < 0
}

// TestTheLongestPathDecides compares what a table subtracts with looking at all
// paths for each request.
func TestTheLongestPathDecides(t *testing.T) {
	for seed := range uint64(2000) {
		longestDecides(t, seed)
	}
}

func FuzzTheLongestPathDecides(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(longestDecides)
}

func longestDecides(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	text := func() string {
		var b strings.Builder
		for range r.IntN(4) {
			b.WriteString("/" + []string{"a", "b", "aa", "a-b", "a.b"}[r.IntN(5)])
		}
		return "/" + strings.TrimPrefix(b.String(), "/")
	}
	var all []owned
	table := &paths.Table[int]{}
	for range 1 + r.IntN(8) {
		o := owned{paths.Path{Value: text(), Prefix: r.IntN(3) > 0}, r.IntN(3)}
		if slices.ContainsFunc(all, func(p owned) bool { return p.path.Same(o.path) }) {
			continue
		}
		all = append(all, o)
		table.Add(o.owner, []paths.Path{o.path})
	}
	table.Sort()
	for range 20 {
		request := text() + []string{"", "/", "x", "/zz"}[r.IntN(4)]
		request = strings.ReplaceAll(request, "//", "/")
		decides := -1
		for i, o := range all {
			if o.path.Matches(request) && (decides < 0 || o.beats(all[decides])) {
				decides = i
			}
		}
		for _, owner := range []int{0, 1, 2} {
			got := slices.ContainsFunc(all, func(o owned) bool { return o.owner == owner && table.Decides(request, o.path, owner) })
			if want := decides >= 0 && all[decides].owner == owner; got != want {
				t.Fatalf("seed %d: %s is decided by owner %d: %v, want %v\n%+v", seed, request, owner, got, want, all)
			}
		}
	}
}

func TestWhatStandsInLeavesWhatOthersStateAlone(t *testing.T) {
	table := &paths.Table[string]{}
	guess := paths.Path{Value: "/cart", Prefix: true, Guess: true}
	table.Add("broken", []paths.Path{guess})
	table.Add("other", []paths.Path{prefix("/cart")})
	table.Sort()
	if _, some := table.Subtract(guess, "broken"); some {
		t.Error("a path that stands in for another one takes what another owner states")
	}
	if out, some := table.Subtract(prefix("/cart"), "other"); !some || len(out) > 0 {
		t.Errorf("another owner's path loses %v", out)
	}
}

func TestSubtractNamesTheOutermostOnly(t *testing.T) {
	table := &paths.Table[string]{}
	table.Add("all", []paths.Path{prefix("/")})
	table.Add("api", []paths.Path{prefix("/api"), prefix("/api/v1"), exact("/api/v1/x"), exact("/b"), prefix("/a-b"), prefix("/a/b")})
	table.Sort()
	got, _ := table.Subtract(prefix("/"), "all")
	want := []paths.Path{prefix("/a/b"), prefix("/a-b"), prefix("/api"), exact("/b")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
