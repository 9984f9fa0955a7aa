// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

// moved copies the YAML files of a folder, each of them with and without a line
// before its documents.
func moved(t testing.TB, folder string) (as, below string) {
	t.Helper()
	as, below = t.TempDir(), t.TempDir()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(path, string(filepath.Separator), "_")
		if err := os.WriteFile(filepath.Join(as, name), append([]byte("---\n"), raw...), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(below, name), append([]byte("# moved\n---\n"), raw...), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return as, below
}

// judged is what becomes of a folder's documents.
type judged struct {
	objects  []schema.Object
	findings []model.Finding
}

func judge(t testing.TB, c *schema.Checker, folder string, known *document.Known) judged {
	t.Helper()
	set, err := document.Read([]string{folder}, nil, document.Options{Cluster: "c1", Scope: c.Scope, Known: known})
	if err != nil {
		t.Error(err)
		return judged{}
	}
	objects, findings := c.Read(t.Context(), set)
	return judged{objects, slices.Concat(set.Findings, findings)}
}

func TestWhatIsKnownChangesNoJudgement(t *testing.T) {
	c := checker(t)
	for _, folder := range []string{"testdata/cases", "../../examples", "../load/testdata"} {
		t.Run(folder, func(t *testing.T) {
			var sides [2]string
			sides[0], sides[1] = moved(t, folder)
			var got [2]judged
			known := &document.Known{}
			var other sync.WaitGroup
			other.Go(func() { got[1] = judge(t, c, sides[1], known) })
			got[0] = judge(t, c, sides[0], known)
			other.Wait()
			for i, side := range sides {
				want := judge(t, c, side, nil)
				if !slices.Equal(model.SortFindings(got[i].findings), model.SortFindings(want.findings)) {
					t.Errorf("findings %+v\nwant %+v", got[i].findings, want.findings)
				}
				if !reflect.DeepEqual(got[i].objects, want.objects) {
					t.Errorf("objects %+v\nwant %+v", got[i].objects, want.objects)
				}
			}
			for i, one := range got[0].objects {
				if two := got[1].objects[i]; one.Value != two.Value {
					t.Errorf("%s was checked for either side", one.Ref)
				}
			}
		})
	}
}
