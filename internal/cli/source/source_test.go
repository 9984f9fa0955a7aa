// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
)

// made is what a command has of a folder's files, as text.
func made(t testing.TB, folder string, known *document.Known) string {
	t.Helper()
	o := source.Options{Files: []string{folder}, Known: known}
	mesh, err := o.ReadMesh(t.Context(), nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	var lines []model.Position
	for _, subject := range mesh.Report.Subjects {
		lines = append(lines, mesh.Position(subject.Ref, "spec"), mesh.Position(subject.Ref, "spec.routes[0].paths[0]"))
	}
	raw, err := json.MarshalIndent([]any{mesh.Report, mesh.Applications, mesh.Objects, mesh.Mesh, lines}, "", " ")
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}

// TestWhatIsKnownChangesNothingThatIsMade reads the examples and the meshes of the
// compiler's tests.
func TestWhatIsKnownChangesNothingThatIsMade(t *testing.T) {
	var folders []string
	for _, pattern := range []string{"../../../examples/*", "../../compile/testdata/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, found...)
	}
	if len(folders) < 50 {
		t.Fatalf("%d folders", len(folders))
	}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			continue
		}
		want := made(t, folder, nil)
		known := &document.Known{}
		var sides [2]string
		var other sync.WaitGroup
		other.Go(func() { sides[1] = made(t, folder, known) })
		sides[0] = made(t, folder, known)
		other.Wait()
		for _, got := range sides {
			if got != want {
				t.Errorf("%s: with what is known it is\n%s\nand without\n%s", folder, got, want)
			}
		}
	}
}
