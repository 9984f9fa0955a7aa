// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// requirement is what `go mod edit -json` says of one module requirement.
type requirement struct {
	Path     string
	Indirect bool
}

func TestEveryDirectDependencyHasAReason(t *testing.T) {
	reasons := documentedDependencies(t)
	modules, err := filepath.Glob(repository + "/tools/*/go.mod")
	if err != nil || len(modules) == 0 {
		t.Fatalf("finding the tool modules: %v, %v", modules, err)
	}
	required := map[string]bool{}
	for _, module := range append(modules, repository+"/go.mod", repository+"/api/go.mod") {
		for _, name := range directRequirements(t, module) {
			required[name] = true
			if reasons[name] == "" {
				t.Errorf("%s requires %s: add it to docs/dependencies.md with the reason, or do without it", module, name)
			}
		}
	}
	for name := range reasons {
		if !required[name] {
			t.Errorf("docs/dependencies.md explains %s, which nothing requires directly any more", name)
		}
	}
}

// documentedDependencies reads the tables of docs/dependencies.md: the first cell
// holds the module in back quotes, the last one the reason.
func documentedDependencies(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(repository + "/docs/dependencies.md")
	if err != nil {
		t.Fatalf("reading the reasons: %v", err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.TrimSpace(cells[0])
		if len(cells) < 2 || !strings.HasPrefix(name, "`") {
			continue
		}
		reasons[strings.Trim(name, "`")] = strings.TrimSpace(cells[len(cells)-1])
	}
	return reasons
}

// directRequirements leaves out our own modules: they are not dependencies.
func directRequirements(t *testing.T, module string) []string {
	t.Helper()
	var parsed struct{ Require []requirement }
	if err := json.Unmarshal([]byte(run(t, "go", "mod", "edit", "-json", module)), &parsed); err != nil {
		t.Fatalf("reading %s: %v", module, err)
	}
	var names []string
	for _, r := range parsed.Require {
		if !r.Indirect && !below(r.Path, modulePath) {
			names = append(names, r.Path)
		}
	}
	return names
}

func TestOperatorLinksNoneOfIstiosOwnPackages(t *testing.T) {
	packages := strings.Fields(run(t, "go", "list", "-deps", modulePath+"/cmd/trellis-operator"))
	if !slices.Contains(packages, modulePath+"/internal/compile") {
		t.Fatalf("the operator does not even link the compiler: go list -deps gave %d packages", len(packages))
	}
	for _, name := range packages {
		if below(name, "istio.io/istio") {
			t.Errorf("the operator links %s: reading Istio's own generator belongs to trellis-server", name)
		}
	}
}

// A pure package may not reach Istio's generator through a friend either, and of
// ours only one package has it.
func TestOnlyTheGeneratorLinksIstiosOwnPackages(t *testing.T) {
	const generator = modulePath + "/internal/xds/generator"
	linked := false
	for line := range strings.Lines(run(t, "go", "list", "-f", `{{.ImportPath}}{{range .Deps}} {{.}}{{end}}`, modulePath+"/internal/...")) {
		fields := strings.Fields(line)
		name, dependencies := fields[0], fields[1:]
		at := slices.IndexFunc(dependencies, func(d string) bool { return below(d, "istio.io/istio") })
		if at < 0 {
			continue
		}
		linked = linked || name == generator
		_, isPure := purePackage(strings.TrimPrefix(name, modulePath+"/"))
		if isPure || name != generator && !slices.Contains(dependencies, generator) {
			t.Errorf("%s links %s: only %s may, and what is above it", name, dependencies[at], generator)
		}
	}
	if !linked {
		t.Errorf("%s does not link Istio: the test looks at the wrong package", generator)
	}
}

// run returns the standard output of a command run in this package's folder.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	var problem strings.Builder
	command.Stderr = &problem
	output, err := command.Output()
	if err != nil {
		t.Fatalf("running %s %s: %v\n%s", name, strings.Join(args, " "), err, problem.String())
	}
	return string(output)
}

// The packages of the console have names without back quotes in the page: they are no
// modules, and several share a reason.
func TestEveryPackageOfTheConsoleHasAReason(t *testing.T) {
	text, err := os.ReadFile(repository + "/docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## The console (")
	if !found {
		t.Fatal("docs/dependencies.md has no section about the console")
	}
	explained := map[string]bool{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for name := range strings.SplitSeq(cells[1], ",") {
				explained[strings.TrimSpace(name)] = true
			}
		}
	}
	raw, err := os.ReadFile(repository + "/web/console/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Dependencies, DevDependencies map[string]string }
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Dependencies) == 0 || len(manifest.DevDependencies) == 0 {
		t.Fatal("package.json names no packages: the test looks at the wrong place")
	}
	for _, packages := range []map[string]string{manifest.Dependencies, manifest.DevDependencies} {
		for name, version := range packages {
			if !explained[name] {
				t.Errorf("web/console requires %s: add it to docs/dependencies.md with the reason, or do without it", name)
			}
			if strings.ContainsAny(version, "^~*<>x ") {
				t.Errorf("web/console requires %s in any version like %s: pin one", name, version)
			}
		}
	}
}
