// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "github.com/trellis-mesh/trellis"

// repository is the way from this package to the repository's root.
const repository = "../.."

// source is one parsed Go file of the repository.
type source struct {
	path   string // slash-separated, from the repository's root
	text   string
	syntax *ast.File
	files  *token.FileSet
}

func (s *source) dir() string     { return path.Dir(s.path) }
func (s *source) isTest() bool    { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) generated() bool { return ast.IsGenerated(s.syntax) }
func (s *source) lines() int      { return strings.Count(s.text, "\n") }

func (s *source) line(pos token.Pos) int { return s.files.Position(pos).Line }

// imports returns the import paths of the file.
func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.syntax.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

// violation is one breach of a rule; where is what an exception must name.
type violation struct {
	where string
	what  string
}

// parse reads one file given as text, as the tree does for files on disk.
func parse(t *testing.T, name, text string) *source {
	t.Helper()
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("parsing %s: %v", name, err)
	}
	return &source{path: name, text: text, syntax: syntax, files: files}
}

// tree parses every Go file of the repository, all modules included.
func tree(t *testing.T) []*source {
	t.Helper()
	var sources []*source
	err := filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if skipped(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, name)
		if err != nil {
			return err
		}
		sources = append(sources, parse(t, filepath.ToSlash(relative), string(text)))
		return nil
	})
	if err != nil {
		t.Fatalf("reading the source tree: %v", err)
	}
	if len(sources) < 20 {
		t.Fatalf("only %d Go files found from %s: the tree was not read", len(sources), repository)
	}
	return sources
}

// skipped reports whether a folder of that name holds no source of ours.
func skipped(name string) bool {
	switch name {
	case "bin", "dist", "testdata", "node_modules":
		return true
	}
	return strings.HasPrefix(name, ".") && name != "." && name != ".."
}
