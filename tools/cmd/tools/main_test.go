// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChoosingTools(t *testing.T) {
	all := []tool{{name: "a"}, {name: "b", byName: true}, {name: "c"}}
	for _, test := range []struct{ name, names, want string }{
		{"everything but what must be named", "", "a c"},
		{"by name, in the table's order", "b a", "a b"},
		{"an unknown name says what exists", "a x", `there is no tool "x"; the tools are a, b, c`},
	} {
		t.Run(test.name, func(t *testing.T) {
			chosen, err := choose(all, strings.Fields(test.names))
			names := make([]string, 0, len(chosen))
			for _, c := range chosen {
				names = append(names, c.name)
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// program writes a module with one main package that prints text.
func program(t *testing.T, root, text string) {
	t.Helper()
	for name, content := range map[string]string{
		"go.mod":  "module example.com/hello\n\ngo 1.26.0\n",
		"main.go": fmt.Sprintf("package main\n\nfunc main() { println(%q) }\n", text),
	} {
		path := filepath.Join(root, "tools", "hello", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAToolIsBuiltOnlyWhenSomethingChanged(t *testing.T) {
	root := t.TempDir()
	program(t, root, "one")
	var out bytes.Buffer
	b := &builder{ctx: t.Context(), root: root, cache: filepath.Join(root, "cache"), out: &out}
	unlock, err := b.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	hello := tool{name: "hello", module: "tools/hello", pkg: "example.com/hello"}
	binary := filepath.Join(b.cache, "bin", "hello")

	for _, step := range []struct {
		name   string
		change func()
		built  bool
	}{
		{"first", func() {}, true},
		{"again", func() {}, false},
		{"with another source", func() { program(t, root, "two") }, true},
		{"without the binary", func() { _ = os.Remove(binary) }, true},
		{"with other flags", func() { hello.stamp = "-X main.version=2" }, true},
		{"and again", func() {}, false},
	} {
		step.change()
		built, err := b.make(hello)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if _, err := os.Stat(binary); err != nil || built != step.built {
			t.Errorf("%s: built is %t; %v", step.name, built, err)
		}
	}
}

func TestAFailingBuildShowsWhatTheCompilerSaid(t *testing.T) {
	root := t.TempDir()
	program(t, root, "one")
	broken := filepath.Join(root, "tools", "hello", "broken.go")
	if err := os.WriteFile(broken, []byte("package main\n\nvar x int = \"text\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &builder{ctx: t.Context(), root: root, cache: filepath.Join(root, "cache"), out: &bytes.Buffer{}}
	unlock, err := b.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := b.make(tool{name: "hello", module: "tools/hello", pkg: "example.com/hello"}); err == nil || !strings.Contains(err.Error(), "broken.go:3") {
		t.Errorf("got %v", err)
	}
	if _, err := b.make(tool{name: "other", module: "tools/other", pkg: "example.com/other"}); err == nil || !strings.Contains(err.Error(), "tools/other, is not in this checkout") {
		t.Errorf("got %v", err)
	}
}
