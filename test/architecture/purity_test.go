// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// pure lists the packages in the middle, and for each the packages of ours that
// it may import: the way the data flows, never back. Packages below a listed one
// share its rules. Listing the allowed ones, not the forbidden, keeps a pure
// package from reaching the world through a friend.
var pure = map[string][]string{
	"internal/model":       {"api/v1alpha1"},
	"internal/policy":      {"api/v1alpha1", "config/crd", "internal/model"},
	"internal/intent":      {"api/v1alpha1", "internal/model", "internal/policy"},
	"internal/compile":     {"api/v1alpha1", "internal/model", "internal/policy", "internal/intent"},
	"internal/xds":         {"internal/model", "internal/once"},
	"internal/decide":      {"api/v1alpha1", "internal/model", "internal/xds"},
	"internal/ask":         {"api/v1alpha1", "internal/model", "internal/policy", "internal/intent", "internal/compile", "internal/xds", "internal/decide", "internal/once", "internal/parallel"},
	"internal/traffic":     {},
	"internal/attribution": {"api/v1alpha1", "internal/model", "internal/policy", "internal/intent", "internal/compile", "internal/xds", "internal/decide", "internal/ask", "internal/mtls", "internal/once", "internal/parallel", "internal/hits"},
	"internal/mtls":        {"internal/traffic", "api/v1alpha1", "internal/model", "internal/xds", "internal/decide", "internal/ask", "internal/once", "internal/parallel"},
	"internal/hits":        {},
	"internal/recount":     {"api/v1alpha1", "internal/model", "internal/policy", "internal/intent", "internal/compile", "internal/xds", "internal/decide", "internal/ask", "internal/mtls", "internal/once", "internal/parallel", "internal/hits", "internal/attribution"},
	"internal/suggestion":  {"api/v1alpha1", "internal/model", "internal/policy", "internal/intent", "internal/compile", "internal/xds", "internal/decide", "internal/ask", "internal/mtls", "internal/once", "internal/parallel", "internal/hits", "internal/attribution"},
}

// outside are packages below a pure one that fetch what it holds, or keep it.
var outside = []string{"internal/xds/generator", "internal/xds/ads", "internal/hits/embedded", "internal/hits/remote", "internal/hits/contract"}

// planned are the pure packages that are designed and not written yet.
var planned = []string{"internal/decide", "internal/ask"}

// impure are import paths, each with everything below it, that fetch, wait, roll
// dice, read the environment or speak.
var impure = []string{
	"k8s.io/client-go",
	"sigs.k8s.io/controller-runtime",
	"istio.io/client-go/pkg/clientset",
	"istio.io/client-go/pkg/informers",
	"istio.io/client-go/pkg/listers",
	"istio.io/istio",
	"k8s.io/apimachinery/pkg/util/rand",
	"k8s.io/apimachinery/pkg/util/uuid",
	"k8s.io/apimachinery/pkg/util/wait",
	"k8s.io/klog",
	"github.com/google/uuid",
	"google.golang.org/grpc",
	"crypto/rand",
	"database/sql",
	"io/ioutil",
	"log",
	"math/rand",
	"net",
	"os",
	"plugin",
	"syscall",
	"golang.org/x/sys",
}

// harmless are exceptions from impure: values and parsers that touch nothing.
var harmless = []string{"net/netip", "net/url", "net/mail", "net/textproto", "google.golang.org/grpc/codes"}

// impureNames are functions of packages that are fine otherwise.
var impureNames = map[string][]string{
	"time":          {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation"},
	"context":       {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
	"fmt":           {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"path/filepath": {"Abs", "EvalSymlinks", "Glob", "Walk", "WalkDir"},
	"runtime":       {"NumCPU", "NumGoroutine", "GOMAXPROCS", "GOROOT"},
	"crypto/rsa":    {"GenerateKey"},
	"crypto/ecdsa":  {"GenerateKey"},
}

func TestPurePackagesAreThere(t *testing.T) {
	present := map[string]bool{}
	for _, s := range tree(t) {
		present[s.dir()] = true
	}
	for dir := range pure {
		if !present[dir] && !slices.Contains(planned, dir) {
			t.Errorf("%s is listed as pure and is not in the tree: the list is stale", dir)
		}
	}
	for _, dir := range outside {
		if !present[dir] && !slices.Contains(planned, dir) {
			t.Errorf("%s is listed as outside and is not in the tree: the list is stale", dir)
		}
	}
}

func TestPurePackagesTouchNothing(t *testing.T) {
	var found []violation
	for _, s := range tree(t) {
		if _, ok := purePackage(s.dir()); ok && !s.isTest() {
			found = append(found, impurities(s)...)
		}
	}
	report(t, found)
}

func TestPurePackagesImportTheirWayOnly(t *testing.T) {
	var found []violation
	for _, s := range tree(t) {
		if own, ok := purePackage(s.dir()); ok && !s.isTest() {
			found = append(found, strays(s, own)...)
		}
	}
	report(t, found)
}

func TestImpurityIsNoticed(t *testing.T) {
	const header = "package model\n\nimport (\n\tclock \"time\"\n\t\"net/netip\"\n\t\"fmt\"\n)\n\nvar _ netip.Addr\n\n"
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"a value of type Duration", header + "var _ clock.Duration", 0},
		{"the clock under another name", header + "var _ = clock.Now()", 1},
		{"the clock as a value", header + "var now = clock.Now", 1},
		{"formatting", header + "var _ = fmt.Sprint(1)", 0},
		{"printing", header + "func f() { fmt.Println(1) }", 1},
		{"a local variable named like the package", header + "func f(clock struct{ Now int }) int { return clock.Now }", 0},
		{"the network", "package model\n\nimport _ \"net/http\"", 1},
		{"randomness", "package model\n\nimport _ \"math/rand/v2\"", 1},
		{"a client", "package model\n\nimport _ \"istio.io/client-go/pkg/clientset/versioned\"", 1},
		{"an API type", "package model\n\nimport _ \"istio.io/client-go/pkg/apis/security/v1\"", 0},
		{"a package that only begins like one", "package model\n\nimport _ \"logic\"", 0},
		{"a linked-in name", "package model\n\nimport _ \"unsafe\"\n\n//go:linkname now time.now\nfunc now()", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := impurities(parse(t, "internal/model/sample.go", c.text)); len(got) != c.want {
				t.Errorf("violations: %v, want %d", got, c.want)
			}
		})
	}
}

func TestImportsAgainstTheFlowAreNoticed(t *testing.T) {
	text := fmt.Sprintf("package intent\n\nimport (\n_ %q\n_ %q\n_ %q\n)", modulePath+"/internal/model", modulePath+"/internal/compile", modulePath+"/internal/apply")
	if got := strays(parse(t, "internal/intent/sample.go", text), "internal/intent"); len(got) != 2 {
		t.Errorf("violations: %v, want those of compile and apply", got)
	}
	text = fmt.Sprintf("package xds\n\nimport (\n_ %q\n_ %q\n)", modulePath+"/internal/xds/configdump", modulePath+"/internal/xds/ads")
	if got := strays(parse(t, "internal/xds/sample.go", text), "internal/xds"); len(got) != 1 {
		t.Errorf("violations: %v, want that of the package outside", got)
	}
}

// purePackage returns the listed package that dir is or lies below, unless it is
// outside of the pure ones.
func purePackage(dir string) (string, bool) {
	if slices.ContainsFunc(outside, func(name string) bool { return below(dir, name) }) {
		return "", false
	}
	for name := range pure {
		if below(dir, name) {
			return name, true
		}
	}
	return "", false
}

// below reports whether path is parent or lies below it, by whole segments.
func below(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

func impurities(s *source) []violation {
	var found []violation
	add := func(line int, what string) {
		found = append(found, violation{where: s.path, what: fmt.Sprintf("line %d: %s", line, what)})
	}
	for _, spec := range s.syntax.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		isBelow := func(parent string) bool { return below(name, parent) }
		if slices.ContainsFunc(impure, isBelow) && !slices.ContainsFunc(harmless, isBelow) {
			add(s.line(spec.Pos()), "a pure package imports "+name)
		}
	}
	for _, group := range s.syntax.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:linkname") {
				add(s.line(comment.Pos()), "a pure package links a name that it may not import")
			}
		}
	}
	for _, use := range uses(s, impureNames) {
		add(use.line, "a pure package uses "+use.name)
	}
	return found
}

// use is one mention of a name of another package.
type use struct {
	line int
	name string // import path, dot, name
}

// uses finds mentions of the given names, by import path, called or not.
func uses(s *source, names map[string][]string) []use {
	var found []use
	local := localNames(s)
	ast.Inspect(s.syntax, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		qualifier, ok := selector.X.(*ast.Ident)
		if !ok || !slices.Contains(names[local[qualifier.Name]], selector.Sel.Name) || shadowed(s, qualifier) {
			return true
		}
		found = append(found, use{s.line(selector.Pos()), local[qualifier.Name] + "." + selector.Sel.Name})
		return true
	})
	return found
}

// localNames maps the names that the file uses for packages to their paths.
func localNames(s *source) map[string]string {
	names := map[string]string{}
	for _, spec := range s.syntax.Imports {
		importPath := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = importPath
	}
	return names
}

// shadowed reports whether a parameter or variable of the enclosing function has
// the qualifier's name, so that it is no package there.
func shadowed(s *source, qualifier *ast.Ident) bool {
	hidden := false
	for _, declaration := range s.syntax.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok || qualifier.Pos() < function.Pos() || qualifier.Pos() > function.End() {
			continue
		}
		for _, field := range function.Type.Params.List {
			for _, name := range field.Names {
				hidden = hidden || name.Name == qualifier.Name
			}
		}
	}
	return hidden
}

// strays are imports of ours that the package's place in the flow does not allow.
func strays(s *source, own string) []violation {
	var found []violation
	for _, name := range s.imports() {
		ours, ok := strings.CutPrefix(name, modulePath+"/")
		isOutside := slices.ContainsFunc(outside, func(name string) bool { return below(ours, name) })
		if !ok || below(ours, own) && !isOutside {
			continue
		}
		if isOutside || !slices.ContainsFunc(pure[own], func(allowed string) bool { return below(ours, allowed) }) {
			found = append(found, violation{where: s.path, what: own + " may not import " + ours})
		}
	}
	return found
}
