// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The house limits. Tests and generated code are free of them.
const (
	maxFunctionLines = 60 // of the body, without lines that are only comment
	maxFileLines     = 500
	maxPackageLines  = 2500
)

// roomier are packages with more lines, and why.
var roomier = map[string]int{
	// All kinds of one version are one package, by the convention of Kubernetes and of
	// what generates code from them; two thirds are the texts of the API reference.
	"api/v1alpha1": 6500,
	// The steps of one resolution work on one graph whose nodes they alone may change;
	// packages of their own would need each other's inside.
	"internal/intent": 3300,
}

func TestFunctionsStayShort(t *testing.T) {
	report(t, longFunctions(measured(tree(t))))
}

func TestFilesStayShort(t *testing.T) {
	report(t, longFiles(measured(tree(t))))
}

func TestPackagesStaySmall(t *testing.T) {
	report(t, largePackages(measured(tree(t))))
}

func TestLimitsNoticeWhatIsTooLong(t *testing.T) {
	long := parse(t, "a/long.go", "package a\n\nfunc f() {\n"+strings.Repeat("\t_ = 1\n", maxFunctionLines+1)+"}\n")
	commented := parse(t, "a/commented.go", "package a\n\nfunc f() {\n"+strings.Repeat("\t// why\n\t_ = 1\n", maxFunctionLines)+"}\n")
	if got := longFunctions([]*source{long, commented}); len(got) != 1 || got[0].where != "a/long.go f" {
		t.Errorf("long functions: %v", got)
	}
	full := parse(t, "a/full.go", "package a\n"+strings.Repeat("//\n", maxFileLines))
	if got := longFiles([]*source{long, full}); len(got) != 1 || got[0].where != "a/full.go" {
		t.Errorf("long files: %v", got)
	}
	if got := largePackages(slices.Repeat([]*source{full}, 5)); len(got) != 1 || got[0].where != "a" {
		t.Errorf("large packages: %v", got)
	}
}

// measured leaves out what the limits do not hold for.
func measured(sources []*source) []*source {
	return slices.DeleteFunc(sources, func(s *source) bool { return s.isTest() || s.generated() })
}

func longFunctions(sources []*source) []violation {
	var found []violation
	for _, s := range sources {
		comments := commentLines(s)
		for _, declaration := range s.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			lines := 0
			for line := s.line(function.Body.Lbrace) + 1; line < s.line(function.Body.Rbrace); line++ {
				if !comments[line] {
					lines++
				}
			}
			if lines > maxFunctionLines {
				found = append(found, violation{
					where: s.path + " " + function.Name.Name,
					what:  fmt.Sprintf("function of %d lines, the limit is %d", lines, maxFunctionLines),
				})
			}
		}
	}
	return found
}

// commentLines are the lines that hold a comment and nothing else.
func commentLines(s *source) map[int]bool {
	only := map[int]bool{}
	text := strings.Split(s.text, "\n")
	for _, group := range s.syntax.Comments {
		for line := s.line(group.Pos()); line <= s.line(group.End()); line++ {
			start := strings.TrimSpace(text[line-1])
			only[line] = strings.HasPrefix(start, "//") || strings.HasPrefix(start, "/*")
		}
	}
	return only
}

func longFiles(sources []*source) []violation {
	var found []violation
	for _, s := range sources {
		if s.lines() > maxFileLines {
			found = append(found, violation{s.path, fmt.Sprintf("file of %d lines, the limit is %d", s.lines(), maxFileLines)})
		}
	}
	return found
}

func largePackages(sources []*source) []violation {
	sizes := map[string]int{}
	for _, s := range sources {
		sizes[s.dir()] += s.lines()
	}
	var found []violation
	for _, dir := range slices.Sorted(maps.Keys(sizes)) {
		if limit := max(maxPackageLines, roomier[dir]); sizes[dir] > limit {
			found = append(found, violation{dir, fmt.Sprintf("package of %d lines, the limit is %d", sizes[dir], limit)})
		}
	}
	return found
}
