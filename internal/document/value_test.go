// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// same reports whether the document's value was made of its nodes; then it has to be
// what Kubernetes' library makes of the text.
func same(t testing.TB, raw []byte) bool {
	t.Helper()
	written := parse(raw)
	if written.root == nil || written.second {
		return false
	}
	got, ok := valueOf(raw, written.root)
	if !ok {
		return false
	}
	want, err := convert(raw)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q\nbecomes %#v\nwant    %#v, %v", raw, got, want, err)
	}
	return true
}

// repository gives all documents of this repository's YAML and JSON files.
func repository(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "../.." && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir() || !strings.Contains(".yaml.yml.json", filepath.Ext(path)) || filepath.Ext(path) == "":
			return nil
		}
		raw, err := os.ReadFile(path)
		for len(raw) > 0 {
			end := nextDocument(raw)
			out = append(out, raw[:end])
			raw = raw[end:]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestValuesOfTheRepositoryAreThoseOfKubernetesLibrary(t *testing.T) {
	all, fast := 0, 0
	for _, raw := range repository(t) {
		var node yaml.Node
		if yaml.Unmarshal(raw, &node) != nil || len(node.Content) == 0 || node.Content[0].Kind != yaml.MappingNode {
			continue
		}
		all++
		if same(t, raw) {
			fast++
		}
	}
	if all < 1000 || fast < all*9/10 {
		t.Errorf("of %d documents %d are read the fast way", all, fast)
	}
}

// pieces are put together to documents.
var pieces = []string{
	"a", "b: ", "c:\n", "- ", "? ", ": ", ", ", "{", "}", "[", "]", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", "\nk: ", "\n  k: ", "\n  d: ", " ", "\t", "\r\n",
	"# c\n", " # c\n", "#c", "\n# c\n", "\n  # c\n", "|\n", ">\n", "|-\n  ", ">+\n  ", "|2\n", "|\n  x\n\n  # y\n", ">\n  x\n\n   y\n", "'", "\"", "'x'", "\"x\"", `"\u00e9\n"`, `"\ud83d"`, `'it''s'`, "'a\n  b'", "\"a \\\n  b\"",
	"&x ", "*x", "!", "! ", "!!str ", "!!int ", "<<: ", "<<", "%", "---", "...", "--- ", "\n---\n", "\n...\n",
	"null", "~", "Null", "true", "True", "yes", "y", "N", "on", "Off", "NO", "1", "0", "-1", "-0", "+1", "01", "0o7", "0x1F", "0b11", "-0b1", "1_000", "_1", "1.5", "1.", ".5", "1e3", "-1e-3",
	"1E400", ".inf", "-.Inf", ".nan", ".NaN", "+.inf", "1.2.3", "10.0.0.0/8", "128Mi", "100m", "5s", "2024-01-01", "2024-01-01T00:00:00Z", "12:30", "9223372036854775807", "9223372036854775808",
	"18446744073709551616", "-9223372036854775808", "1__", "0x", "-", "+", ".", "..", "0.", "é", "\u2028", "\u0085", "\ufeff", "=", "@", "`",
}

func TestValuesOfRandomDocumentsAreThoseOfKubernetesLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	written := repository(t)
	fast := 0
	for n := range 60_000 {
		var text strings.Builder
		switch n % 3 {
		case 0:
			text.WriteString("a: ")
		case 1:
			text.WriteString("a:\n  k: 1\n  b:\n  - ")
		default:
			// A document of the repository with a piece at some place.
			raw := written[random.IntN(len(written))]
			if len(raw) == 0 || len(raw) > 600 {
				continue
			}
			at := random.IntN(len(raw))
			text.Write(raw[:at])
			text.WriteString(pieces[random.IntN(len(pieces))])
			text.Write(raw[at:])
		}
		if n%3 < 2 {
			for range 1 + random.IntN(8) {
				text.WriteString(pieces[random.IntN(len(pieces))])
			}
		}
		if same(t, []byte(text.String())) {
			fast++
		}
	}
	if fast < 5_000 {
		t.Errorf("%d random documents are read the fast way", fast)
	}
}

func FuzzValue(f *testing.F) {
	for _, raw := range repository(f) {
		if len(raw) < 2000 {
			f.Add(raw)
		}
	}
	for _, piece := range pieces {
		f.Add([]byte("a: " + piece))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { same(t, raw) })
}
