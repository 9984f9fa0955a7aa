// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"context"
	"flag"
	"fmt"
	"os"
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

func TestWhatAnAPIServerRefusesIsRefusedWithAFix(t *testing.T) {
	c := checker(t)
	cases := []struct{ name, text string }{
		{"an unknown field near a known one", application + "  exposure: []\n"},
		{"an unknown field near nothing", with(application, "protocol: HTTP", "protocol: HTTP, quality: 1")},
		{"a field that other versions have", application + "  tests: []\n"},
		{"text where a number should be", with(application, "port: 80", "port: \"80\"")},
		{"a number where text should be", with(application, "service: shop", "service: 5")},
		{"a number out of range", with(application, "port: 80", "port: 800000")},
		{"a field that is missing", with(application, "  service: shop\n", "")},
		{"a field without a value", with(application, "service: shop", "service:")},
		{"a value that is not one of those", with(application, "protocol: HTTP", "protocol: http")},
		{"metadata of the wrong type", with(application, "name: shop, n", "name: shop, labels: {a: 1}, n")},
		{"an unknown field in metadata", with(application, "name: shop, n", "name: shop, lables: {}, n")},
		{"a name in upper case", with(application, "name: shop", "name: Shop")},
		{"a name of 253 characters", with(application, "name: shop,", "name: "+strings.Repeat("a", 253)+",")},
		{"a name with a dot", with(application, "name: shop,", "name: a.b,")},
		{"a repeated name in a list", application + "  routes: [{name: a, port: web, paths: [{exact: /}]},\n    {name: a, port: web, paths: [{exact: /}]}]\n"},
		{"a repeated value in a set", application + "  routes: [{name: a, port: web, paths: [{exact: /}], methods: [GET, GET]}]\n"},
		{"names that nothing has", application + "  routes: [{name: pages, port: wep, paths: [{exact: /}]}]\n  exposures: [{name: a, routes: [pages, page, nothing]}]\n  access: {callers: [{name: x, peer: {any: {}}, routes: [zzz]}]}\n"},
		{"names that nothing has, beside what blocks other rules", with(application, "protocol: HTTP", "protocol: http") + "  exposures: [{name: a, routes: [x]}]\n"},
		{"both of two choices, and neither", application + "  routes:\n  - {name: a, port: web, paths: [{exact: /, prefix: /}]}\n  - {name: b, port: web, paths: [{}]}\n"},
		{"several peers", application + "  access: {callers: [{name: x, peer: {any: {}, namespace: {name: x}}}]}\n"},
		{"requirements where no token is asked", application + "  routes: [{name: a, port: web, paths: [{exact: /}], authentication: {mode: None, scopes: [a]}}]\n"},
		{"durations", application + "  routes:\n  - {name: a, port: web, paths: [{exact: /}], timeout: 1 day}\n  - {name: b, port: web, paths: [{exact: /}], timeout: 25h}\n"},
		{"10,000 routes", application + "  routes:\n" + strings.Repeat("  - {name: a, nonsense: 1}\n", 10_000)},
		{"17 paths", application + "  routes:\n  - name: a\n    port: web\n    paths:\n" + strings.Repeat("    - {exact: /a}\n", 17)},
		{"17 exposures", application + "  routes: [{name: a, port: web, paths: [{exact: /}]}]\n  exposures:\n" + strings.Repeat("  - {name: a, routes: [a]}\n", 17)},
		{"a domain with other letters", with(ingress, "example.com", "bücher.Example")},
		{"a domain in upper case", with(ingress, "example.com", "Example.COM")},
		{"host names", application + "  routes: [{name: a, port: web, paths: [{exact: /}]}]\n  exposures: [{name: a, routes: [a], hostnames: [bücher, Shop, ok, 'a..b']}]\n"},
		{"origins", application + "  routes: [{name: a, port: web, paths: [{exact: /}]}]\n  exposures: [{name: a, routes: [a], cors: {origins: ['https://bücher.example', '*']}}]\n"},
		{"no source for the certificate", with(ingress, "secretName: wildcard", "minimumVersion: TLSv1_3")},
		{"an e-mail address in place of a certificate", with(ingress, "secretName: wildcard", "email: ops@example.com")},
		{"both sources for the certificate", with(ingress, "secretName: wildcard", "secretName: wildcard, email: ops@example.com")},
		{"an old version of TLS", with(ingress, "secretName: wildcard", "secretName: wildcard, minimumVersion: TLSv1_0")},
		{"dns", ingress + "  dns: {providerRef: {name: x}}\n"},
		{"identity providers", ingress + "  identityProviders:\n  - {name: a, issuer: x, audiences: ['*']}\n  - {name: b, issuer: z, audiences: [b], jwksURI: 'http://b'}\n"},
		{"two default providers", ingress + "  identityProviders:\n  - {name: a, issuer: x, audiences: [a], default: true, jwks: '{}'}\n  - {name: b, issuer: z, audiences: [b], default: true, jwks: '{}'}\n"},
		{"a kind that is misspelt", with(application, "Application", "Applicaton")},
		{"a kind of another version", with(application, "Application", "DNSProvider")},
		{"a version that does not exist", with(application, "v1alpha1", "v1")},
		{"a claim in upper case", "apiVersion: trellis.dev/v1alpha1\nkind: HostClaim\nmetadata: {name: Shop.example.com}\nspec: {namespace: shop}\n"},
		{"a Service that cannot be read", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: {}}\n"},
		{"an Istio object that cannot be read", "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {servers: {}}\n"},
	}
	var got strings.Builder
	for _, x := range cases {
		fmt.Fprintf(&got, "%s\n", x.name)
		objects, findings := read(t, c, x.text)
		for _, f := range findings {
			if f.Owner == "" || f.Severity != model.SeverityError || f.Object.Name == "" {
				t.Errorf("%s: incomplete: %+v", x.name, f)
			}
			fmt.Fprintf(&got, "\tline %d %s %s\n\t\twhat: %s\n\t\tfix:  %s\n", f.Position.Line, f.Field, f.Reason, f.Message, f.Fix)
		}
		if len(findings) == 0 || len(objects) != 0 {
			t.Errorf("%s: %d findings, and %d objects were taken", x.name, len(findings), len(objects))
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

// TestTenThousandRoutesAreRefusedQuickly runs out of its time when the lists'
// keys are compared with each other before their length is looked at.
func TestTenThousandRoutesAreRefusedQuickly(t *testing.T) {
	c := checker(t)
	text := application + "  routes:\n" + strings.Repeat("  - {name: a, port: web, nonsense: 1, paths: [{}]}\n", 10_000)
	work := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, findings := read(b, c, text); len(findings) != 1 || findings[0].Reason != "TooManyRoutes" {
				b.Fatalf("%d findings", len(findings))
			}
		}
	})
	if perRoute := work.NsPerOp() / 10_000; perRoute > 500_000 {
		t.Errorf("%d ns for each route", perRoute)
	}
}
