// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"fmt"
	"go/ast"
	"os"
	"slices"
	"strings"
	"testing"
)

// Where there is one goroutine, there is nothing for the race detector to see, and
// looking makes a search through thousands of cases take six times as long. So the
// pure packages are tested without it (tools/make/packages.sh), which is only right
// for as long as neither they nor their tests begin a second one.

// shared are pure packages in which several goroutines work on one value, and which
// are tested with the race detector; or that have a package outside below them with
// several of its own.
var shared = []string{"internal/ask", "internal/hits", "internal/mtls", "internal/xds"}

func TestPurePackagesAndTheirTestsHaveOneGoroutine(t *testing.T) {
	var found []violation
	for _, s := range tree(t) {
		if name, ok := purePackage(s.dir()); ok && !slices.Contains(shared, name) {
			found = append(found, concurrency(s)...)
		}
	}
	report(t, found)
}

func TestWhatIsTestedWithoutTheRaceDetectorIsWhatIsPure(t *testing.T) {
	raw, err := os.ReadFile(repository + "/tools/make/packages.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), `/internal\/(`)
	list, _, _ := strings.Cut(rest, ")")
	named := strings.Split(list, "|")
	for _, name := range named {
		if _, ok := pure["internal/"+name]; !ok {
			t.Errorf("packages.sh has the tests of internal/%s run without the race detector, and it is not pure", name)
		}
	}
	if len(named) != len(pure)-len(shared) {
		t.Errorf("packages.sh names %v, and these are pure: %v", named, pure)
	}
}

func TestAnotherGoroutineIsNoticed(t *testing.T) {
	for text, want := range map[string]int{
		"func f() { go f() }":                                  1,
		"func TestX(t *testing.T) { t.Parallel() }":            1,
		"func BenchmarkX(b *testing.B) { b.RunParallel(nil) }": 1,
		"func f(g *sync.WaitGroup) { g.Go(nil) }":              1,
		"func f() { defer f() }":                               0,
	} {
		if got := concurrency(parse(t, "internal/model/sample_test.go", "package model\n\n"+text)); len(got) != want {
			t.Errorf("%s: %v, want %d", text, got, want)
		}
	}
}

// concurrency finds what begins another goroutine.
func concurrency(s *source) []violation {
	var found []violation
	add := func(node ast.Node, what string) {
		found = append(found, violation{where: s.path, what: fmt.Sprintf("line %d: %s", s.line(node.Pos()), what)})
	}
	ast.Inspect(s.syntax, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GoStmt:
			add(n, "a package that is tested without the race detector begins a goroutine")
		case *ast.SelectorExpr:
			if slices.Contains([]string{"Parallel", "RunParallel", "Go", "AfterFunc"}, n.Sel.Name) {
				add(n, "a package that is tested without the race detector begins a goroutine by "+n.Sel.Name)
			}
		}
		return true
	})
	return found
}
