// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/openapi.json")

const reference = "../../../docs/reference/openapi.json"

func TestReferenceIsWhatIsServed(t *testing.T) {
	got, err := Describe("main")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(reference, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil || string(want) != string(got) {
		t.Errorf("docs/reference/openapi.json is not up to date (%v): run go test ./internal/server/api -run Reference -update", err)
	}
}

// TestEveryReferenceIsDefined holds the description to itself: whoever makes a client of it
// finds every schema, and every path says what it gives.
func TestEveryReferenceIsDefined(t *testing.T) {
	raw, err := Describe("main")
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(raw), `"$ref": "#/components/schemas/`) {
		name, _, _ := strings.Cut(part, `"`)
		if strings.HasPrefix(part, "{") {
			continue // before the first
		}
		if spec.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	if len(spec.Paths) != len((&API{}).endpoints())+1 {
		t.Errorf("%d paths are described", len(spec.Paths))
	}
	for path, methods := range spec.Paths {
		for method, operation := range methods {
			if operation["summary"] == nil || operation["responses"] == nil {
				t.Errorf("%s %s does not say what it gives", method, path)
			}
		}
	}
}
