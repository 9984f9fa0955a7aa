// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import "testing"

// exception lets one place break one rule, for a reason that a reviewer accepted.
type exception struct {
	rule   string // the name of the test that would fail
	where  string // as the violation says it
	reason string
}

var exceptions = []exception{}

// report fails for each violation that no exception covers, and for each
// exception of the rule that nothing needs any more.
func report(t *testing.T, violations []violation) {
	t.Helper()
	used := map[string]bool{}
	for _, v := range violations {
		if excused(t.Name(), v.where) {
			used[v.where] = true
			continue
		}
		t.Errorf("%s: %s", v.where, v.what)
	}
	for _, e := range exceptions {
		if e.rule == t.Name() && !used[e.where] {
			t.Errorf("the exception for %s is no longer needed: remove it", e.where)
		}
	}
}

func excused(rule, where string) bool {
	for _, e := range exceptions {
		if e.rule == rule && e.where == where {
			return true
		}
	}
	return false
}

func TestEveryExceptionHasAWrittenReason(t *testing.T) {
	for _, e := range exceptions {
		if len(e.reason) < 40 {
			t.Errorf("exception from %s for %s: %q does not say why", e.rule, e.where, e.reason)
		}
	}
}
