// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/document"
)

// written are objects of Trellis's kinds as people write them.
func written(t testing.TB, c *Checker) []document.Object {
	t.Helper()
	var out []document.Object
	for _, folder := range []string{"testdata", "../../examples", "../../docs", "../compile/testdata", "../load/testdata", "../../test"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			set, err := document.Read([]string{path}, nil, document.Options{Scope: c.Scope})
			if err != nil {
				return err
			}
			for _, o := range set.Objects {
				if o.Kind.Group == v1alpha1.GroupName && c.kinds[o.Kind] != nil {
					out = append(out, o)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestWhatIsSoundIsWhatTheAPIServerTakes holds objects as they are written, and many
// that are changed at random, to the API server's code.
func TestWhatIsSoundIsWhatTheAPIServerTakes(t *testing.T) {
	c, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	taken, sound := map[string]int{}, map[string]int{}
	changed := 0
	for _, o := range written(t, c) {
		k := c.kinds[o.Kind]
		value, err := o.Value()
		if err != nil {
			t.Fatal(err)
		}
		for n := range 16 {
			one := runtime.DeepCopyJSON(value)
			for range n % 4 {
				change(random, one)
			}
			before := runtime.DeepCopyJSON(one)
			is := k.sound(t.Context(), one)
			if !reflect.DeepEqual(one, before) {
				t.Fatalf("%s is changed by looking at it", o.Ref)
			}
			findings := k.inFull(t.Context(), one)
			delete(before, "status")
			switch {
			case is && (len(findings) > 0 || !reflect.DeepEqual(one, before)):
				t.Fatalf("%s is sound, and it becomes\n%+v\nof\n%+v\nwith findings\n%+v", o.Ref, one, before, findings)
			case is && n%4 > 0:
				changed++
			case n == 0 && len(findings) == 0:
				taken[o.Kind.Kind]++
				if is {
					sound[o.Kind.Kind]++
				}
			}
		}
	}
	// Values without a type, and dates, are left to the API server's code.
	for _, partly := range []string{"PolicyTemplate", "ClusterPolicyBinding", "PolicyBinding", "PolicyException"} {
		if taken[partly] == 0 {
			t.Errorf("no %s is taken", partly)
		}
		delete(taken, partly)
		delete(sound, partly)
	}
	if !reflect.DeepEqual(taken, sound) || len(taken) < 3 || changed < 1000 {
		t.Errorf("taken %v, of which sound %v; %d that were changed", taken, sound, changed)
	}
}

// odd are values that a field may have instead of its own.
var odd = []any{
	nil, "", "a", "Strict", "None", "https://a.example.com", "/", "*", "10s", "0s", "é", strings.Repeat("x", 300), int64(0), int64(-1), int64(8080),
	int64(math.MaxInt32 + 1), int64(math.MaxInt64), 1.5, true, false, []any{}, []any{"a", "a"}, map[string]any{}, map[string]any{"name": "a"},
}

// change changes one place of an object.
func change(random *rand.Rand, value any) {
	switch v := value.(type) {
	case map[string]any:
		name := "more"
		if len(v) > 0 {
			names := make([]string, 0, len(v))
			for one := range v {
				names = append(names, one)
			}
			slices.Sort(names)
			name = names[random.IntN(len(names))]
		}
		switch random.IntN(12) {
		case 0:
			delete(v, name)
		case 1, 2:
			v[name] = runtime.DeepCopyJSONValue(odd[random.IntN(len(odd))])
		case 3:
			v[[]string{"status", "unknown", "routes", "mode"}[random.IntN(4)]] = runtime.DeepCopyJSONValue(odd[random.IntN(len(odd))])
		default:
			change(random, v[name])
		}
	case []any:
		if len(v) == 0 {
			return
		}
		i, j := random.IntN(len(v)), random.IntN(len(v))
		switch random.IntN(4) {
		case 0:
			v[i] = runtime.DeepCopyJSONValue(v[j])
		case 1:
			v[i] = runtime.DeepCopyJSONValue(odd[random.IntN(len(odd))])
		default:
			change(random, v[i])
		}
	}
}
