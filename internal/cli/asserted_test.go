// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bound binds two policies of the catalog that assert something.
const bound = `
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: admin}
spec: {policy: {name: admin-paths-denied-outside, version: 1.0.0}, tier: Mandatory, mode: Enforce}
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: environments}
spec:
  policy: {name: environments-denied-access, version: 1.0.0}
  tier: Mandatory
  mode: Enforce
  parameters: [{name: environments, value: [test]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: trial, labels: {env: test, istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: robot, namespace: trial}
spec:
  template:
    metadata: {labels: {app: robot}}
    spec: {serviceAccountName: robot, containers: [{name: app}]}
---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: cart, namespace: shop}
spec:
  service: cart
  ports: [{name: web, port: 80, protocol: HTTP}]
  routes: [{name: pages, port: web, paths: [{prefix: PATH}], methods: [GET], authentication: {mode: MODE}}]
  exposures: [{name: public, hostnames: [cart], routes: [pages]}]
  access: {callers: [{name: own, peer: {serviceAccount: {name: till, namespace: NAMESPACE}}}, {name: robot, peer: {serviceAccount: {name: robot, namespace: NAMESPACE}}}]}
`

func TestPoliciesOfTheCatalogThatAssertSomethingNoticeWhoGetsIn(t *testing.T) {
	const internet, environment = "denied-to-the-internet", "denied-to-environments"
	for _, c := range []struct {
		name, path, mode, callers string
		failed                    []string
		code                      int
	}{
		{"nothing is open that must not be", "/pages", "None", "shop", nil, 0},
		{"everything is open to everybody", "/", "None", "shop", []string{internet}, 2},
		{"everything asks for a login", "/", "Required", "shop", nil, 0},
		{"a workload of test is let in", "/pages", "None", "trial", []string{environment}, 2},
		{"both", "/", "None", "trial", []string{internet, environment}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "in.yaml")
			text := strings.NewReplacer("PATH", c.path, "MODE", c.mode, "NAMESPACE", c.callers).Replace(bound)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			files := []string{"-f", "testdata/answers/mesh", "-f", file}
			for _, name := range []string{"admin-paths-denied-outside", "environments-denied-access"} {
				files = append(files, "-f", "../../catalog/"+name+"/policy.yaml")
			}
			got := trellis(t, "", append([]string{"test", "-o", "json"}, files...)...)
			var view struct {
				Tests []struct{ Name, Status, Says string } `json:"tests"`
			}
			if err := json.Unmarshal([]byte(got.out), &view); err != nil {
				t.Fatalf("%v: %s%s", err, got.err, got.out)
			}
			var failed []string
			for _, one := range view.Tests {
				if one.Status == "Failed" {
					failed = append(failed, one.Name)
				} else if one.Status != "Passed" {
					t.Errorf("%s: %s (%s)", one.Name, one.Status, one.Says)
				}
			}
			if len(view.Tests) != 2 || got.code != c.code || fmt.Sprint(failed) != fmt.Sprint(c.failed) {
				t.Errorf("exit code %d, failed %v: %s", got.code, failed, got.err)
			}
			if report := trellis(t, "", append([]string{"report"}, files...)...); report.code != c.code {
				t.Errorf("report exits with %d: %s%s", report.code, report.err, report.out)
			}
		})
	}
}
