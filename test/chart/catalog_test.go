// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
)

// templates are those that the chart renders to, by their policies.
func templates(t *testing.T, arguments ...string) map[string]*v1alpha1.PolicyTemplate {
	t.Helper()
	manifest, err := Catalog(t.Context(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*v1alpha1.PolicyTemplate{}
	for document := range strings.SplitSeq(string(manifest), "\n---\n") {
		one := &v1alpha1.PolicyTemplate{}
		if err := yaml.UnmarshalStrict([]byte(strings.TrimPrefix(document, "---\n")), one); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		out[string(one.Spec.Policy)] = one
	}
	return out
}

func TestTheCatalogIsInstalledAsItIsShown(t *testing.T) {
	entries, err := catalog.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	rendered := templates(t)
	if len(rendered) != len(entries) {
		t.Errorf("%d policies are installed, and the catalog has %d", len(rendered), len(entries))
	}
	for _, entry := range entries {
		want := entry.Template
		got := rendered[string(want.Spec.Policy)]
		if got == nil {
			t.Errorf("%s is not installed", want.Name)
			continue
		}
		// Values without a type, such as numbers, must come through templates unchanged.
		if shown, installed := marshalled(t, &want.Spec), marshalled(t, &got.Spec); shown != installed || got.Name != want.Name {
			t.Errorf("%s is installed otherwise, as %s:\n%s\nand the catalog has\n%s", want.Name, got.Name, installed, shown)
		}
		if got.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("Helm would delete %s, which may be bound", want.Name)
		}
	}
}

func marshalled(t *testing.T, spec *v1alpha1.PolicyTemplateSpec) string {
	t.Helper()
	text, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPoliciesAreInstalledByName(t *testing.T) {
	if got := templates(t, "--set-json", `policies=["tls-minimum-version","no-any-caller"]`); len(got) != 2 || got["tls-minimum-version"] == nil || got["no-any-caller"] == nil {
		t.Errorf("installed: %v", got)
	}
	for _, c := range []struct{ value, says string }{
		{`policies=["no-such-policy"]`, "has no policy no-such-policy"},
		{`policies=["../crds/x"]`, "policies"},
		{`policy=["tls-minimum-version"]`, "policy"},
	} {
		if _, err := Catalog(t.Context(), "--set-json", c.value); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.value, err)
		}
	}
}
