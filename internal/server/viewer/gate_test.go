// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package viewer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/trellis-mesh/trellis/internal/server/viewer"
)

// counted is an API server that counts what it is asked.
type counted struct {
	tokens, rights int
	away, mayNot   bool
}

func (c *counted) Whose(_ context.Context, token string) (*viewer.Viewer, error) {
	c.tokens++
	if c.away {
		return nil, viewer.ErrUnsaid
	}
	name, ok := strings.CutPrefix(token, "of ")
	if !ok {
		return nil, nil
	}
	return &viewer.Viewer{Name: name}, nil
}

func (c *counted) May(context.Context, *viewer.Viewer, viewer.Action) (bool, error) {
	c.rights++
	return !c.mayNot, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheAPIServerSaysIsBelievedForAWhile(t *testing.T) {
	server, clock := &counted{}, testclock.NewFakePassiveClock(time.Unix(1e9, 0))
	g := viewer.NewGate(server, clock)
	action := viewer.Action{Verb: "get", Resource: "applications", Namespace: "shop"}
	ask := func() (*viewer.Viewer, bool) {
		v, err := g.Whose(t.Context(), "of ann")
		must(t, err)
		may, err := g.May(t.Context(), v, action)
		must(t, err)
		return v, may
	}
	for range 3 {
		if v, may := ask(); v.Name != "ann" || !may {
			t.Errorf("the token is of %+v, who may: %t", v, may)
		}
	}
	if server.tokens != 1 || server.rights != 1 {
		t.Errorf("the API server was asked %d and %d times", server.tokens, server.rights)
	}
	server.mayNot = true
	clock.SetTime(clock.Now().Add(30 * time.Second))
	if _, may := ask(); may || server.tokens != 2 {
		t.Errorf("a right that was taken away is there: %t", may)
	}
}

func TestAnAPIServerThatSaysNothingMakesNobodySomebody(t *testing.T) {
	server := &counted{away: true}
	g := viewer.NewGate(server, testclock.NewFakePassiveClock(time.Unix(1e9, 0)))
	for range 2 {
		if v, err := g.Whose(t.Context(), "of ann"); !errors.Is(err, viewer.ErrUnsaid) || v != nil {
			t.Errorf("it is %+v, %v", v, err)
		}
	}
	server.away = false
	if v, err := g.Whose(t.Context(), "of ann"); err != nil || v == nil {
		t.Errorf("once it answers again it is %+v, %v", v, err)
	}
	before := server.tokens
	for _, token := range []string{"", strings.Repeat("x", viewer.LongestToken+1)} {
		if v, err := g.Whose(t.Context(), token); v != nil || err != nil || server.tokens != before {
			t.Errorf("a token that is none is %+v, %v, and was asked about", v, err)
		}
	}
}

// TestNoNameIsTakenForAnotherWithItsGroups: rights are remembered by who it is.
func TestNoNameIsTakenForAnotherWithItsGroups(t *testing.T) {
	server := &counted{}
	g := viewer.NewGate(server, testclock.NewFakePassiveClock(time.Unix(1e9, 0)))
	for i, v := range []*viewer.Viewer{
		{Name: "ann"}, {Name: "ann", Groups: []string{"a", "b"}}, {Name: "ann", Groups: []string{`a" "b`}}, {Name: `ann" "`}, {Name: "ann", UID: "1"},
		{Name: "ann", Extra: map[string][]string{"scopes": {"a"}}}, {Name: "ann", Extra: map[string][]string{"scopes": {"b"}}},
	} {
		_, err := g.May(t.Context(), v, viewer.Action{})
		must(t, err)
		if server.rights != i+1 {
			t.Errorf("%+v is taken for another", v)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	server := &counted{}
	g := viewer.NewGate(server, testclock.NewFakePassiveClock(time.Unix(1e9, 0)))
	for i := range 3000 {
		_, err := g.Whose(t.Context(), fmt.Sprintf("of %d", i))
		must(t, err)
	}
	if tokens, _ := g.Remembered(); tokens > 1024 {
		t.Errorf("%d tokens are remembered", tokens)
	}
}

// TestMadeUpTokensMakeNobodyBeForgotten: the API server would be asked anew about everybody
// who works, as often as a stranger likes.
func TestMadeUpTokensMakeNobodyBeForgotten(t *testing.T) {
	server := &counted{}
	g := viewer.NewGate(server, testclock.NewFakePassiveClock(time.Unix(1e9, 0)))
	_, err := g.Whose(t.Context(), "of ann")
	must(t, err)
	for i := range 3000 {
		_, err := g.Whose(t.Context(), fmt.Sprintf("made up %d", i))
		must(t, err)
	}
	before := server.tokens
	v, err := g.Whose(t.Context(), "of ann")
	must(t, err)
	if v == nil || server.tokens != before {
		t.Errorf("it is %+v, and the API server was asked again: %t", v, server.tokens != before)
	}
	if tokens, _ := g.Remembered(); tokens > 1024 {
		t.Errorf("%d tokens are remembered", tokens)
	}
}
