// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package codeowners_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/cli/codeowners"
)

const file = `# who owns what
*           @org/all
*.yaml      @org/yaml
/mesh/      @org/mesh sec@example.com # both
docs/*      @org/docs
mesh/**/x   @org/x
/nobody/
[Section]
!negated @org/never
`

func TestTheLastLineThatFitsDecides(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{".github", "mesh/deep", ".git"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, ".github", "CODEOWNERS"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	owners, err := codeowners.Find(filepath.Join(root, "mesh", "deep"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"README.md": "@org/all", "a/b.yaml": "@org/yaml", "mesh/a.yaml": "@org/mesh sec@example.com", "mesh/deep/x": "@org/x",
		"docs/a.md": "@org/docs", "docs/a/b.md": "@org/all", "nobody/a.yaml": "", "other/mesh/a.txt": "@org/all",
	} {
		if got := strings.Join(owners.Of(filepath.Join(root, name)), " "); got != want {
			t.Errorf("%s is owned by %q, want %q", name, got, want)
		}
	}
	if got := owners.Of(filepath.Join(root, "..", "elsewhere.yaml")); got != nil {
		t.Errorf("a file outside of the repository is owned by %v", got)
	}
}

func TestARepositoryWithoutTheFileHasNoOwners(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, ".git"), 0o700); err != nil {
		t.Fatal(err)
	}
	owners, err := codeowners.Find(root)
	if err != nil || owners.Of(filepath.Join(root, "a")) != nil {
		t.Errorf("%+v, %v", owners, err)
	}
}
