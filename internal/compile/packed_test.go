// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// texts are the manifests of objects, by reference.
func texts(t *testing.T, objects []compile.Object) map[model.Reference]string {
	t.Helper()
	out := map[model.Reference]string{}
	for _, o := range objects {
		text, err := o.YAML()
		if err != nil {
			t.Fatal(err)
		}
		out[o.Ref] = string(text)
	}
	return out
}

func TestAStreamHasTheSameObjectsAndPackingLosesNothing(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range uint64(40) {
		w := newWorld(seed)
		in := w.platform()
		want := compile.Compile(model.NewSnapshot(in))
		var got []compile.Object
		outcome := compile.Stream(model.NewSnapshot(in), func(o compile.Object) {
			packed, err := compile.Pack(o)
			if err != nil {
				t.Fatal(err)
			}
			o, err = packed.Unpack()
			if err != nil {
				t.Fatal(err)
			}
			if packed.GroupVersionKind() != o.Value.GetObjectKind().GroupVersionKind() {
				t.Errorf("%s is packed as %s", o.Ref, packed.GroupVersionKind())
			}
			kinds[o.Ref.Kind] = true
			got = append(got, o)
		})
		if a, b := texts(t, want.Objects), texts(t, got); !maps.Equal(a, b) {
			t.Fatalf("seed %d: the stream has\n%v\nand not\n%v", seed, b, a)
		}
		same := func(a, b compile.Object) bool {
			return a.Ref == b.Ref && slices.Equal(a.Owners, b.Owners) && b.Value == nil
		}
		if !slices.EqualFunc(want.Objects, outcome.Objects, same) {
			t.Fatalf("seed %d: the outcome of the stream lists\n%v", seed, outcome.Objects)
		}
	}
	for _, kind := range []string{"HostClaim", "EnvoyFilter", "RequestAuthentication", "AuthorizationPolicy", "Gateway", "VirtualService"} {
		if !kinds[kind] {
			t.Errorf("no %s was packed, so nothing was shown about it", kind)
		}
	}
}

// checkPacking packs objects and compares what comes out.
func checkPacking(t *testing.T, objects []compile.Object) {
	t.Helper()
	var got []compile.Object
	for _, o := range objects {
		packed, err := compile.Pack(o)
		if err != nil {
			t.Fatal(err)
		}
		if o, err = packed.Unpack(); err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	if a, b := texts(t, objects), texts(t, got); !maps.Equal(a, b) {
		t.Errorf("packing made\n%v\nof\n%v", b, a)
	}
}

func TestWhatNobodyPackedCannotBeUnpacked(t *testing.T) {
	if o, err := (compile.Packed{}).Unpack(); err == nil {
		t.Errorf("it became %v", o)
	}
}
