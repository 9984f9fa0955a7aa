// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
)

var options = document.Options{
	Cluster: "c1",
	Scope: func(kind schema.GroupVersionKind) document.Scope {
		switch kind.Kind {
		case "Thing":
			return document.ScopeNamespaced
		case "Whole":
			return document.ScopeCluster
		}
		return document.ScopeUnknown
	},
}

func read(t testing.TB, text string) *document.Set {
	t.Helper()
	return readWith(t, options, text)
}

func readWith(t testing.TB, options document.Options, text string) *document.Set {
	t.Helper()
	set, err := document.Read([]string{"-"}, strings.NewReader(text), options)
	if err != nil {
		t.Error(err)
		return &document.Set{}
	}
	return set
}

// write makes a file in a folder, and gives its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func brief(findings []model.Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s:%d %s %s", f.Position.File, f.Position.Line, f.Reason, f.Field))
	}
	return strings.Join(out, "\n")
}

func thing(name string) model.Reference {
	return model.Reference{Cluster: "c1", Group: "x", Kind: "Thing", Namespace: "n", Name: name}
}

const good = "apiVersion: x/v1\nkind: Thing\nmetadata: {name: good}\n"

// documents are those of a file, with the lines of what is wrong with them and the
// objects that they have; those with a mark of exclamation are refused.
var documents = []struct{ name, text, want, objects string }{
	{"nothing", "", "", ""},
	{"comments and empty documents", "# a\n---\n---\n# b\n---\nnull\n", "", ""},
	{"a syntax error hides no other document", good + "---\na: [\n---\n" + strings.Replace(good, "good", "other", 1), "stdin:5 SyntaxError ", "default/good default/other"},
	{"a bad line inside a document", "---\n" + good + "spec:\n  a: b: c\n", "stdin:6 SyntaxError ", ""},
	{"a repeated key", good + "spec:\n  a: 1\n  b: {c: 1}\n  a: 2\n", "stdin:7 DuplicateKey spec.a", "!default/good"},
	{"a repeated key in a list item", good + "spec:\n- {a: 1}\n- {b: 1, b: 2}\n", "stdin:6 DuplicateKey spec[1].b", "!default/good"},
	{"a repeated label", good[:len(good)-1] + "\nlabels:\n  a.b/c: 1\n  a.b/c: 2\n", "stdin:6 DuplicateKey labels[a.b/c]", "!default/good"},
	{"the same object twice", good + "---\n" + good, "stdin:5 DuplicateObject ", "default/good !default/good"},
	{"an object without a name", "apiVersion: x/v1\nkind: Thing\n", "stdin:1 NotAnObject ", ""},
	{"a document that is no object", "---\n\n- a\n", "stdin:3 NotAnObject ", ""},
	{"a document without kind", "name: values\n", "stdin:1 NotAnObject ", ""},
	{"a kind that is not read", "apiVersion: v1\nkind: Other\nmetadata: {name: x}\n", "", ""},
	{"a kind without a namespace", "apiVersion: x/v1\nkind: Whole\nmetadata: {name: x}\n", "", "/x"},
	{"a list", "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(good), "\n", "\n  ") + "\n- {}\n", "stdin:7 NotAnObject ", "default/good"},
	{"a second document behind an end marker", good + "...\n" + good, "stdin:1 SyntaxError ", ""},
	{"a document on the line of its separator", "--- {apiVersion: x/v1, kind: Thing, metadata: {name: a, namespace: b}}\n--- # comment\n" + good, "", "b/a default/good"},
	{"JSON that is indented with tabs", "{\n\t\"apiVersion\": \"x/v1\",\n\t\"kind\": \"Thing\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n", "", "default/a"},
	{"an anchor that contains itself", good + "spec: &a [*a]\n", "stdin:1 SyntaxError ", ""},
	{"binary", "\x00\x01\x02", "stdin:1 SyntaxError ", ""},
}

func TestWhatIsWrongIsFoundWithItsLine(t *testing.T) {
	for _, c := range documents {
		t.Run(c.name, func(t *testing.T) {
			set := read(t, c.text)
			if got := brief(set.Findings); got != c.want {
				t.Errorf("findings:\n%s\nwant:\n%s\n%+v", got, c.want, set.Findings)
			}
			var objects []string
			for _, o := range set.Objects {
				name := o.Ref.Namespace + "/" + o.Ref.Name
				if o.Refused {
					name = "!" + name
				}
				objects = append(objects, name)
			}
			if got := strings.Join(objects, " "); got != c.objects {
				t.Errorf("objects %q, want %q", got, c.objects)
			}
		})
	}
}

// aliased says some things in other places than where they hold.
const aliased = `# first line
---
apiVersion: x/v1
kind: Thing
metadata:
  name: a
  namespace: n
  labels:
    app.kubernetes.io/name: x
shared: &shared
  timeout: 1s
spec:
  routes:
  - name: one
    paths: [{exact: /},
      {prefix: /b}]
  - <<: *shared
    name: two
  other: *shared
---
apiVersion: v1
kind: ThingList
items:
- apiVersion: x/v1
  kind: Thing
  metadata: {name: b, namespace: n}
`

func TestPositionIsTheLineOfTheFieldOrOfItsNearestAncestor(t *testing.T) {
	set := read(t, aliased)
	cases := []struct {
		object, field string
		line          int
	}{
		{"a", "", 3},
		{"a", "metadata.name", 6},
		{"a", "metadata.labels[app.kubernetes.io/name]", 9},
		{"a", "spec", 12},
		{"a", "spec.routes[0]", 14},
		{"a", "spec.routes[0].paths[0].exact", 15},
		{"a", "spec.routes[0].paths[1].prefix", 16},
		{"a", "spec.routes[0].paths[7].prefix", 15},
		{"a", "spec.routes[1].timeout", 11},
		{"a", "spec.routes[1].timeout.deeper", 11},
		{"a", "spec.routes[1].port", 17},
		{"a", "spec.other.timeout", 11},
		{"a", "spec.absent.field", 12},
		{"a", "absent", 3},
		{"a", "spec.routes[", 13},
		{"a", "spec.routes[-1]", 13},
		{"b", "", 24},
		{"b", "metadata.namespace", 26},
		{"unknown", "", 0},
	}
	for _, c := range cases {
		if got := set.Position(thing(c.object), c.field); got.Line != c.line {
			t.Errorf("Position(%s, %q) = line %d, want %d", c.object, c.field, got.Line, c.line)
		}
	}
}

func TestValuesAreWhatKubernetesReads(t *testing.T) {
	set := read(t, "apiVersion: x/v1\nkind: Thing\nmetadata: {name: a}\nspec: {yes: 1, big: 9007199254740993, b: yes, s: \"yes\", f: 1.5, k: {1: x}}\n")
	if len(set.Objects) != 1 {
		t.Fatalf("%+v", set.Findings)
	}
	value, err := set.Objects[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	const want = `map[apiVersion:x/v1 kind:Thing metadata:map[name:a namespace:default] spec:map[b:true big:9007199254740993 f:1.5 k:map[1:x] s:yes true:1]]`
	if got := fmt.Sprint(value); got != want {
		t.Errorf("value %s\nwant  %s", got, want)
	}
}

// bomb is small and stands for more than a machine has room for.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: x/v1\nkind: Thing\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	return b.String()
}

func TestAliasBombsAreRefused(t *testing.T) {
	set := read(t, bomb())
	if len(set.Objects) != 0 || len(set.Findings) != 1 || !strings.Contains(set.Findings[0].Message, "aliases make more than") {
		t.Errorf("%d objects, %+v", len(set.Objects), set.Findings)
	}
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	t.Run("a file", func(t *testing.T) {
		set, err := document.Read([]string{"-"}, bytes.NewReader(make([]byte, document.MaxFileBytes+2)), options)
		if err != nil || brief(set.Findings) != "stdin:1 TooLarge " {
			t.Errorf("%v %s", err, brief(set.Findings))
		}
	})
	t.Run("an object", func(t *testing.T) {
		set := read(t, "---\napiVersion: x/v1\nkind: Thing\nmetadata: {name: a}\nspec: "+strings.Repeat("a", document.MaxObjectBytes)+"\n---\napiVersion: x/v1\nkind: Thing\nmetadata: {name: b}\n")
		if brief(set.Findings) != "stdin:1 TooLarge " || len(set.Objects) != 1 {
			t.Errorf("%d objects, %s", len(set.Objects), brief(set.Findings))
		}
	})
	t.Run("but not a list of that size", func(t *testing.T) {
		set := read(t, "apiVersion: v1\nkind: List\nitems:\n"+strings.Repeat("- {apiVersion: v1, kind: Other}\n", 1+document.MaxObjectBytes/30))
		if len(set.Findings) != 1 || !strings.Contains(set.Findings[0].Message, "more than 100000 objects") {
			t.Errorf("%+v", set.Findings)
		}
	})
	t.Run("what is said about repeated keys", func(t *testing.T) {
		set := read(t, "apiVersion: x/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n"+strings.Repeat("  k: 1\n", 1000))
		if len(set.Findings) != 51 || !strings.Contains(set.Findings[50].Message, "949 more repeated keys") {
			t.Errorf("%d findings", len(set.Findings))
		}
	})
	t.Run("too many objects", func(t *testing.T) {
		const other = "--- {apiVersion: v1, kind: Other}\n"
		next := write(t, t.TempDir(), "next.yaml", strings.Repeat(other, 5))
		set, err := document.Read([]string{"-", next}, strings.NewReader(strings.Repeat(other, document.MaxDocuments+5)), options)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("stdin:%d TooLarge \n%s:1 TooLarge ", document.MaxDocuments+1, next); brief(set.Findings) != want {
			t.Errorf("findings %s, want %s", brief(set.Findings), want)
		}
	})
}

func TestDirectoriesAreReadInTheOrderOfNames(t *testing.T) {
	dir := t.TempDir()
	one := "apiVersion: x/v1\nkind: Thing\nmetadata: {name: %s}\n"
	write(t, dir, "b.yaml", fmt.Sprintf(one, "b"))
	write(t, dir, "a/z.yml", fmt.Sprintf(one, "z"))
	write(t, dir, "c.JSON", `{"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "c"}}`)
	write(t, dir, "README.md", "not: [yaml")
	write(t, dir, ".git/config.yaml", "not: [yaml")
	write(t, dir, ".hidden.yaml", "not: [yaml")
	if err := os.Symlink(filepath.Join(dir, "b.yaml"), filepath.Join(dir, "d.yaml")); err != nil {
		t.Fatal(err)
	}
	set, err := document.Read([]string{dir}, nil, options)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range set.Objects {
		names = append(names, o.Ref.Name)
	}
	if got := strings.Join(names, " "); got != "z b c b" || set.Files != 4 {
		t.Errorf("objects %q of %d files", got, set.Files)
	}
	if _, err := document.Read([]string{filepath.Join(dir, "absent")}, nil, options); err == nil {
		t.Error("a file that does not exist was read")
	}
}

// FuzzRead holds reading to never panicking, to positions inside the file, and
// to giving the same to two who share what is known.
func FuzzRead(f *testing.F) {
	f.Add([]byte("apiVersion: x/v1\nkind: Thing\nmetadata: {name: a}\nspec: &a [1, {b: c, b: d}]\nother: *a\n---\n{}\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: x/v1, kind: Thing, metadata: {name: a}}]\n...\n"))
	f.Add([]byte("{\"apiVersion\": \"x/v1\",\n\t\"kind\": \"Whole\"}\n--- !!binary x\n<<: [*a, &a {<<: *a}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			t.Skip()
		}
		lines := bytes.Count(raw, []byte{'\n'}) + 1
		first := read(t, string(raw))
		for _, again := range readBoth(func(_ int, o document.Options) *document.Set { return readWith(t, o, string(raw)) }) {
			requireSame(t, again, first)
		}
		for _, finding := range first.Findings {
			if p := finding.Position; p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d: %+v", p.Line, lines, finding)
			}
		}
		for _, o := range first.Objects {
			if _, err := o.Value(); err != nil {
				t.Errorf("an object without a value: %v", err)
			}
			for _, field := range []string{"spec[1].b", "other[0]", "metadata.name.<<.a", "<<.<<.<<"} {
				if p := first.Position(o.Ref, field); p.Line < 1 || p.Line > lines {
					t.Errorf("position %+v of %q among %d lines", p, field, lines)
				}
			}
		}
	})
}
