// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const repository = "../.."

var update = flag.Bool("update", false, "write docs/reference/api.md")

func TestReferenceIsWhatTheDefinitionsSay(t *testing.T) {
	paths, err := filepath.Glob(repository + "/config/crd/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("finding the definitions: %v, %v", paths, err)
	}
	var definitions []*apiextensionsv1.CustomResourceDefinition
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, definition); err != nil {
			t.Fatalf("reading %s: %v", path, err)
		}
		definitions = append(definitions, definition)
	}
	want := reference(definitions)
	page := filepath.Join(repository, "docs", "reference", "api.md")
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what config/crd says (%v); run: go test ./test/docs -run Reference -update", page, err)
	}
}
