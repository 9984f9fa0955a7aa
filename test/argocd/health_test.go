// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const repository = "../.."

// cases are objects of a cluster, and what Argo CD is to show of them.
var cases = []struct{ sentence, object, want string }{
	{"an object that nobody has looked at is on its way", `{kind: Application, metadata: {generation: 1}}`,
		"Progressing Trellis has not looked at it yet"},
	{"a status of an older generation says nothing", `
kind: Application
metadata: {generation: 2}
status: {observedGeneration: 1, conditions: [{type: Ready, status: "True", reason: Ready, message: well}]}`,
		"Progressing Trellis has not looked at this generation yet"},
	{"an Application that is ready is healthy", `
kind: Application
metadata: {generation: 2}
status: {observedGeneration: 2, conditions: [{type: Accepted, status: "True"}, {type: Ready, status: "True", reason: Ready, message: well}]}`,
		"Healthy Ready: well"},
	{"an Application that a policy refuses is degraded, and says why", `
kind: Application
metadata: {generation: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Accepted, status: "False", reason: PolicyViolated, message: not let in}
  - {type: Ready, status: "False", reason: PolicyViolated, message: not let in}
  - {type: Stalled, status: "True", reason: PolicyViolated, message: not let in}`,
		"Degraded PolicyViolated: not let in"},
	{"what proxies do not do though it was accepted is degraded", `
kind: Application
metadata: {generation: 1}
status: {observedGeneration: 1, conditions: [{type: Ready, status: "False", reason: RouteOpen, message: a route is open}]}`,
		"Degraded RouteOpen: a route is open"},
	{"what is awaited is on its way", `
kind: Application
metadata: {generation: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Ready, status: Unknown, reason: Pending, message: proxies are awaited}
  - {type: Reconciling, status: "True", reason: Pending, message: proxies are awaited}`,
		"Progressing Pending: proxies are awaited"},
	{"a pause is a pause", `
kind: SecureIngress
metadata: {generation: 1}
status: {observedGeneration: 1, conditions: [{type: Ready, status: "False", reason: Paused, message: repair is off}]}`,
		"Suspended Paused: repair is off"},
	{"a goal that is not met is deployed well, and says so", `
kind: Goal
metadata: {generation: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Met, status: "False", reason: Failing, message: "1 of 2 objects pass, 1 fails"}
  - {type: Ready, status: "True", reason: Observed, message: counted}`,
		"Healthy Failing: 1 of 2 objects pass, 1 fails"},
	{"a binding whose template is missing is degraded", `
kind: ClusterPolicyBinding
metadata: {generation: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Ready, status: "False", reason: TemplateNotFound, message: it does not exist}
  - {type: Stalled, status: "True", reason: TemplateNotFound, message: it does not exist}`,
		"Degraded TemplateNotFound: it does not exist"},
	{"an exception that has expired is degraded, so that somebody takes it out", `
kind: PolicyException
metadata: {generation: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Ready, status: "False", reason: Expired, message: it expired}
  - {type: Stalled, status: "True", reason: Expired, message: it expired}`,
		"Degraded Expired: it expired"},
	{"a HostClaim has no conditions and is healthy", `{kind: HostClaim, metadata: {generation: 1}}`, "Healthy "},
}

func TestArgoCDShowsTheHealthOfEveryKind(t *testing.T) {
	script, err := os.ReadFile(repository + "/config/argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	fmt.Fprintf(&program, "local function health(obj)\n%s\nend\n", script)
	for _, c := range cases {
		var object any
		if err := yaml.Unmarshal([]byte(c.object), &object); err != nil {
			t.Fatalf("reading the object of %q: %v", c.sentence, err)
		}
		fmt.Fprintf(&program, "do local h = health(%s) print(h.status .. ' ' .. h.message) end\n", literal(object))
	}
	file := filepath.Join(t.TempDir(), "health.lua")
	if err := os.WriteFile(file, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "-C", repository+"/tools/lua", "run", "github.com/yuin/gopher-lua/cmd/glua", file)
	// Where it is the first time, go says there what it downloads.
	var said strings.Builder
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		t.Fatalf("running the script: %v\n%s%s", err, output, said.String())
	}
	got := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if len(got) != len(cases) {
		t.Fatalf("%d answers to %d objects:\n%s", len(got), len(cases), output)
	}
	for i, c := range cases {
		if got[i] != c.want {
			t.Errorf("%s: %q, want %q", c.sentence, got[i], c.want)
		}
	}
}

// literal is a value as Lua writes it.
func literal(v any) string {
	var parts []string
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, fmt.Sprintf("[%s] = %s", strconv.Quote(name), literal(v[name])))
		}
	case []any:
		for _, item := range v {
			parts = append(parts, literal(item))
		}
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
