// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package crd_test

import (
	"context"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/config/crd"
)

// TestAnAPIServerTakesTheDefinitions runs the API server's own validation,
// which compiles every CEL rule and estimates its cost.
func TestAnAPIServerTakesTheDefinitions(t *testing.T) {
	entries, err := crd.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 3 {
		t.Fatalf("%d definitions are embedded", len(entries))
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			raw, err := crd.Files.ReadFile(entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			var definition apiextensionsv1.CustomResourceDefinition
			if err := yaml.UnmarshalStrict(raw, &definition); err != nil {
				t.Fatal(err)
			}
			apiextensionsv1.SetDefaults_CustomResourceDefinition(&definition)
			apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&definition.Spec)
			var internal apiextensions.CustomResourceDefinition
			if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&definition, &internal, nil); err != nil {
				t.Fatal(err)
			}
			internal.Status.StoredVersions = []string{definition.Spec.Versions[0].Name}
			for _, problem := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
				t.Error(problem)
			}
		})
	}
}
