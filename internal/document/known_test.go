// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/document"
)

// requireSame holds two sets to saying the same.
func requireSame(t testing.TB, got, want *document.Set) {
	t.Helper()
	if got.Files != want.Files || !maps.Equal(got.Skipped, want.Skipped) {
		t.Errorf("%d files and %v skipped, want %d and %v", got.Files, got.Skipped, want.Files, want.Skipped)
	}
	if !slices.Equal(got.Findings, want.Findings) {
		t.Errorf("findings\n%+v\nwant\n%+v", got.Findings, want.Findings)
	}
	if len(got.Objects) != len(want.Objects) {
		t.Fatalf("%d objects, want %d", len(got.Objects), len(want.Objects))
	}
	for i, o := range got.Objects {
		other := want.Objects[i]
		if o.Ref != other.Ref || o.Kind != other.Kind || o.Position != other.Position || o.Refused != other.Refused {
			t.Errorf("%+v, want %+v", o, other)
		}
		value, err := o.Value()
		wanted, wantErr := other.Value()
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(value, wanted) {
			t.Errorf("%v is %v, %v; want %v, %v", o.Ref, value, err, wanted, wantErr)
		}
		for _, field := range fields(nil, "", value) {
			if at, wantAt := got.Position(o.Ref, field), want.Position(o.Ref, field); at != wantAt {
				t.Errorf("%s of %v is at %v, want %v", field, o.Ref, at, wantAt)
			}
		}
	}
}

// fields adds the paths of a value's fields, up to a number.
func fields(out []string, path string, value any) []string {
	if len(out) >= 1000 {
		return out
	}
	out = append(out, path)
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = fields(out, path+"["+name+"]", v[name])
		}
	case []any:
		for i := range v {
			out = fields(out, fmt.Sprintf("%s[%d]", path, i), v[i])
		}
	}
	return out
}

func readFiles(t testing.TB, options document.Options, paths ...string) *document.Set {
	t.Helper()
	set, err := document.Read(paths, nil, options)
	if err != nil {
		t.Error(err)
		return &document.Set{}
	}
	return set
}

// readBoth reads two sides at the same time, with what they have in common.
func readBoth(read func(side int, o document.Options) *document.Set) [2]*document.Set {
	return readTogether(&document.Known{}, read)
}

func readTogether(known *document.Known, read func(side int, o document.Options) *document.Set) [2]*document.Set {
	shared := options
	shared.Known = known
	var out [2]*document.Set
	var other sync.WaitGroup
	other.Go(func() { out[1] = read(1, shared) })
	out[0] = read(0, shared)
	other.Wait()
	return out
}

// TestWhatIsKnownChangesNothingThatIsTold has the documents of one side in other
// files and at other lines of the other side, some of them changed.
func TestWhatIsKnownChangesNothingThatIsTold(t *testing.T) {
	cases := slices.Clone(documents)
	add := func(name, text string) {
		cases = append(cases, struct{ name, text, want, objects string }{name: name, text: text})
	}
	add("aliases", aliased)
	add("an alias bomb", bomb())
	add("more documents than are read ahead", strings.Repeat(good+"---\n", 200)+aliased)
	add("a document that is too large, and others", good+"---\n"+good+"spec: "+strings.Repeat("a", document.MaxObjectBytes)+"\n---\n"+aliased)
	add("a list with errors", "apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: x/v1, kind: Thing, metadata: {name: a}, b: 1, b: 2}\n- *a\n- 1\n- {apiVersion: x/v1, kind: Thing}\n- {apiVersion: x/v1, kind: Whole, metadata: {name: a}}\n")
	add("a list that cannot be converted", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: x/v1, kind: Thing, metadata: {name: a}, [1]: 2}\n- {apiVersion: x/v1, kind: Thing, metadata: {name: b}}\n")
	var all []string
	for _, c := range cases {
		all = append(all, c.text)
	}
	add("all of these", strings.Join(all, "\n---\n"))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			text := "---\n" + c.text
			sides := [2][]string{
				{write(t, dir, "before/all.yaml", text)},
				{write(t, dir, "after/a.yaml", "# moved\n"+text+"\n"+strings.ReplaceAll(text, "good", "better")), write(t, dir, "after/b.yaml", text)},
			}
			read := func(side int, o document.Options) *document.Set { return readFiles(t, o, sides[side]...) }
			known := &document.Known{}
			both := readTogether(known, read)
			for side, set := range both {
				requireSame(t, set, read(side, options))
			}
			known.Settle()
			for side, set := range both {
				requireSame(t, set, read(side, options))
			}
		})
	}
}

func TestWhatFollowsFromAnObjectIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	const same = "---\n" + good + "---\napiVersion: v1\nkind: List\nitems: [{apiVersion: x/v1, kind: Thing, metadata: {name: a}}, {apiVersion: x/v1, kind: Thing, metadata: {name: b}}]\n"
	const other = "---\napiVersion: x/v1\nkind: Thing\nmetadata: {name: other}\nspec: %d\n"
	sides := [2]string{
		write(t, dir, "one.yaml", same+fmt.Sprintf(other, 1)),
		write(t, dir, "two.yaml", "# moved\n"+same+fmt.Sprintf(other, 2)),
	}
	read := func(side int, o document.Options) *document.Set { return readFiles(t, o, sides[side]) }
	ask := func(sides [2]*document.Set) map[string]int {
		made := map[string]int{}
		var mu sync.Mutex
		var asking sync.WaitGroup
		for _, set := range sides {
			for _, o := range set.Objects {
				asking.Go(func() {
					got := o.Once("a key", func() any {
						mu.Lock()
						defer mu.Unlock()
						made[o.Ref.Name]++
						return o.Ref
					})
					if got != o.Ref {
						t.Errorf("%v was given what was made of %v", o.Ref, got)
					}
				})
			}
		}
		asking.Wait()
		return made
	}
	if got, want := ask(readBoth(read)), map[string]int{"good": 1, "a": 1, "b": 1, "other": 2}; !maps.Equal(got, want) {
		t.Errorf("made so often: %v, want %v", got, want)
	}
	alone := [2]*document.Set{read(0, options), read(1, options)}
	if got, want := ask(alone), map[string]int{"good": 2, "a": 2, "b": 2, "other": 2}; !maps.Equal(got, want) {
		t.Errorf("with nothing known, made so often: %v, want %v", got, want)
	}
	set := readBoth(read)[0]
	for _, key := range []any{1, "1"} {
		if got := set.Objects[0].Once(key, func() any { return key }); got != key {
			t.Errorf("under the key %v is what was made for %v", key, got)
		}
	}
}

// TestANamespaceIsFilledInForOneReadAlone: what reads share says nothing of it.
func TestANamespaceIsFilledInForOneReadAlone(t *testing.T) {
	path := write(t, t.TempDir(), "a.yaml", good)
	in := func(scope document.Scope, known *document.Known) any {
		t.Helper()
		set := readFiles(t, document.Options{Known: known, Scope: func(schema.GroupVersionKind) document.Scope { return scope }}, path)
		value, err := set.Objects[0].Value()
		if err != nil {
			t.Fatal(err)
		}
		metadata, ok := value["metadata"].(map[string]any)
		if !ok {
			t.Fatalf("%v", value)
		}
		return metadata["namespace"]
	}
	known := &document.Known{}
	if got := in(document.ScopeNamespaced, known); got != document.DefaultNamespace {
		t.Errorf("namespace %v", got)
	}
	if got := in(document.ScopeCluster, known); got != nil {
		t.Errorf("an object that lives in no namespace is in %v", got)
	}
}
