// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits_test

import (
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

// rule is one of an Application's statement in an object that is that many hours old; zero:
// nobody knows.
func rule(field string, hours int) hits.InForce {
	out := hits.InForce{Key: hits.Key{Namespace: "shop", Application: "web", Statement: "Application shop/web", Field: field}}
	if hours > 0 {
		out.Since = noon.Add(-time.Duration(hours) * time.Hour)
	}
	return out
}

func line(field string) hits.Line {
	return hits.Line{Statement: "Application shop/web", Field: field}
}

func TestAStatementIsAsOldAsTheLastChangeOfAnyObjectThatHasIt(t *testing.T) {
	got := hits.Since(hits.Rules, []hits.InForce{rule("a", 30), rule("a", 2), rule("b", 9), rule("c", 5), rule("c", 0)}, nil)
	if want := noon.Add(-2 * time.Hour); !got[line("a")].Equal(want) {
		t.Errorf("it is of %s, want %s", got[line("a")], want)
	}
	if want := noon.Add(-9 * time.Hour); !got[line("b")].Equal(want) {
		t.Errorf("it is of %s, want %s", got[line("b")], want)
	}
	if at, known := got[line("c")]; known {
		t.Errorf("of one of its objects it is not known, and it is said to be of %s", at)
	}
}

func TestWhatHasRulesIsAsOldAsTheOldestOfThem(t *testing.T) {
	rules := []hits.InForce{rule("a", 3), rule("b", 9), rule("c", 0)}
	owners := func(statement, _ string) []string { return []string{"goal of " + statement} }
	for layer, of := range map[hits.Layer]hits.Line{
		hits.Applications: {Namespace: "shop", Application: "web"},
		hits.Goals:        {Name: "goal of Application shop/web"},
	} {
		if got, want := hits.Since(layer, rules, owners)[of], noon.Add(-9*time.Hour); !got.Equal(want) {
			t.Errorf("by %s it is of %s, want %s", layer, got, want)
		}
	}
}

func TestAStatementRefusesWhereNoneOfItsRulesLetsIn(t *testing.T) {
	refusing, letting := rule("a", 1), rule("a", 1)
	refusing.Refuses = true
	both := hits.Refusing([]hits.InForce{refusing, letting})
	other := hits.Refusing([]hits.InForce{letting, refusing})
	if both[line("a")] || other[line("a")] || !hits.Refusing([]hits.InForce{refusing, refusing})[line("a")] {
		t.Errorf("%v %v", both, other)
	}
}
