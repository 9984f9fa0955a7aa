// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// withDocument applies documents for the length of a test.
func withDocument(t testing.TB, documents string) {
	t.Helper()
	objects, err := parse(documents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := world.remove(ctx, objects...); err != nil {
			t.Error(err)
		}
	})
	if err := world.apply(t.Context(), world.withKeys(documents)); err != nil {
		t.Fatal(err)
	}
}

func parse(documents string) ([]client.Object, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(documents)), 4096)
	var out []client.Object
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(object.Object) > 0:
			out = append(out, object)
		}
	}
}
