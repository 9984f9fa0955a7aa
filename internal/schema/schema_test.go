// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/schema"
)

var update = flag.Bool("update", false, "rewrite golden files")

func checker(t testing.TB) *schema.Checker {
	t.Helper()
	c, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t testing.TB, c *schema.Checker, text string) ([]schema.Object, []model.Finding) {
	t.Helper()
	set, err := document.Read([]string{"-"}, strings.NewReader(text), document.Options{Cluster: "c1", Scope: c.Scope})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Findings) > 0 {
		t.Fatalf("findings of the document: %+v", set.Findings)
	}
	objects, findings := c.Read(context.Background(), set)
	return objects, model.SortFindings(findings)
}

const application = `apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: shop}
spec:
  service: shop
  ports: [{name: web, port: 80, protocol: HTTP}]
`

const ingress = `apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: gateway}
  tls: {secretName: wildcard}
`

func with(text, old, replacement string) string {
	if !strings.Contains(text, old) {
		panic(old)
	}
	return strings.Replace(text, old, replacement, 1)
}

// TestWhatAnAPIServerRefusesIsRefusedWithAFix reads one document a case. That an
// API server does refuse each is tested in test/e2e/schema.
func TestWhatAnAPIServerRefusesIsRefusedWithAFix(t *testing.T) {
	c := checker(t)
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d cases: %v", len(files), err)
	}
	var got strings.Builder
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		fmt.Fprintf(&got, "%s\n", name)
		objects, findings := read(t, c, string(raw))
		for _, f := range findings {
			if f.Owner == "" || f.Severity != model.SeverityError || f.Object.Name == "" {
				t.Errorf("%s: incomplete: %+v", name, f)
			}
			fmt.Fprintf(&got, "\tline %d %s %s\n\t\twhat: %s\n\t\tfix:  %s\n", f.Position.Line, f.Field, f.Reason, f.Message, f.Fix)
		}
		if len(findings) == 0 || len(objects) != 0 {
			t.Errorf("%s: %d findings, and %d objects were taken", name, len(findings), len(objects))
		}
	}
	const golden = "testdata/refusals.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("what is said differs from %s (rewrite it with -update):\n%s", golden, got.String())
	}
}

func TestWhatAnAPIServerTakesIsTaken(t *testing.T) {
	c := checker(t)
	cases := []struct{ name, text string }{
		{"an Application", application},
		{"a SecureIngress", ingress},
		{"an object as a cluster shows it", with(application, "namespace: shop", `namespace: shop, uid: a, resourceVersion: "1", creationTimestamp: null, managedFields: []`) + "status: {conditions: []}\n"},
		{"a claim, which has no namespace", "apiVersion: trellis.dev/v1alpha1\nkind: HostClaim\nmetadata: {name: shop.example.com}\nspec: {namespace: shop}\n"},
		{"a Service with a field of a later Kubernetes", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {fromTheFuture: true}\n"},
		{"an Istio object of an older version", "apiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {name: a}\nspec: {selector: {a: b}}\n"},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			if objects, findings := read(t, c, x.text); len(objects) != 1 || len(findings) != 0 {
				t.Errorf("%d objects, findings %+v", len(objects), findings)
			}
		})
	}
}

func TestWhatIsSaidAboutOneObjectIsBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString(application)
	for i := range 5000 {
		fmt.Fprintf(&text, "  unknown%d: 1\n", i)
	}
	_, findings := read(t, checker(t), text.String())
	if len(findings) != 26 || !strings.Contains(findings[0].Message, "4975 more problems") {
		t.Errorf("%d findings, %+v", len(findings), findings[0])
	}
}

// TestManyRoutesAreRefusedInTimeThatGrowsWithTheirNumber finds it out when the lists'
// keys are compared with each other before their length is looked at: ten times as many
// would take a hundred times as long.
func TestManyRoutesAreRefusedInTimeThatGrowsWithTheirNumber(t *testing.T) {
	c := checker(t)
	perRoute := func(n int) float64 {
		text := application + "  routes:\n" + strings.Repeat("  - {name: a, port: web, nonsense: 1, paths: [{}]}\n", n)
		work := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				if _, findings := read(b, c, text); len(findings) != 1 || findings[0].Reason != "TooManyRoutes" {
					b.Fatalf("%d findings", len(findings))
				}
			}
		})
		return float64(work.NsPerOp()) / float64(n)
	}
	if few, many := perRoute(1_000), perRoute(10_000); many > 5*few {
		t.Errorf("%.0f ns for each of 10,000 routes, and %.0f ns of 1,000", many, few)
	}
}
