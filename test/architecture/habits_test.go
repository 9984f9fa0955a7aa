// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"fmt"
	"testing"
)

// A test that sleeps is slow on a fast machine and wrong on a slow one; it waits
// for a condition instead.
func TestNoTestSleeps(t *testing.T) {
	report(t, sleeps(tree(t)))
}

func TestASleepingTestIsNoticed(t *testing.T) {
	text := "package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(time.Second) }\n"
	if got := sleeps([]*source{parse(t, "a/a_test.go", text), parse(t, "a/a.go", text), parse(t, "test/stack/a.go", text)}); len(got) != 2 {
		t.Errorf("violations: %v, want those of the test and of the stack", got)
	}
}

func sleeps(sources []*source) []violation {
	var found []violation
	for _, s := range sources {
		if !s.isTest() && !below(s.path, "test") {
			continue
		}
		for _, use := range uses(s, map[string][]string{"time": {"Sleep"}}) {
			found = append(found, violation{s.path, fmt.Sprintf("line %d: sleeping instead of waiting for a condition", use.line)})
		}
	}
	return found
}
