// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
)

var update = flag.Bool("update", false, "rewrite golden files")

// objects decodes the documents of a file in testdata.
func objects(t testing.TB, name string) []runtime.Object {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := load.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	var out []runtime.Object
	for _, doc := range strings.Split(string(raw), "\n---\n") {
		obj, _, err := decoder.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("decoding %s: %v\n%s", name, err, doc)
		}
		out = append(out, obj)
	}
	return out
}

func input(t testing.TB, objs []runtime.Object) model.Input {
	t.Helper()
	b := load.NewBuilder(model.DefaultMesh())
	for _, o := range objs {
		if !b.Add(o) {
			t.Fatalf("Add(%T) was not recognised", o)
		}
	}
	return b.Input()
}

func TestEveryKindIsRead(t *testing.T) {
	in := input(t, objects(t, "mesh.yaml"))
	got := struct {
		Mesh         model.Mesh
		Namespaces   []model.Namespace
		Services     []model.Service
		Workloads    []model.Workload
		Certificates []model.Certificate
		Foreign      []model.Foreign
		ProbeKey     string
		Names        []string
	}{in.Mesh, in.Namespaces, in.Services, in.Workloads, in.Certificates, in.Foreign, in.ProbeKey, nil}
	for _, a := range in.Applications {
		got.Names = append(got.Names, "Application "+a.Namespace+"/"+a.Name)
	}
	for _, i := range in.SecureIngresses {
		got.Names = append(got.Names, "SecureIngress "+i.Namespace+"/"+i.Name)
	}
	for _, c := range in.HostClaims {
		got.Names = append(got.Names, "HostClaim "+c.Name)
	}
	raw, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	golden := filepath.Join("testdata", "mesh.json")
	if *update {
		if err := os.WriteFile(golden, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != string(want) {
		t.Errorf("input differs from %s:\n%s", golden, raw)
	}
}

func TestTheOrderOfAddingDoesNotMatter(t *testing.T) {
	objs := objects(t, "mesh.yaml")
	want := input(t, objs)
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		random.Shuffle(len(objs), func(i, j int) { objs[i], objs[j] = objs[j], objs[i] })
		if got := input(t, objs); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order gave another input:\n%+v\n%+v", got, want)
		}
	}
}

func TestAnUnknownKindIsNotRecognised(t *testing.T) {
	if load.NewBuilder(model.DefaultMesh()).Add(&runtime.Unknown{}) {
		t.Error("an unknown kind was recognised")
	}
}
