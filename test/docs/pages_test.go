// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/schema"
)

const (
	platform = "examples/bookinfo/platform"
	// generated is written from the help texts, whose blocks have no info string.
	generated = "docs/reference/cli.md"
)

// pages are the Markdown files of the repository, from its root.
func pages(t *testing.T) map[string]*page {
	t.Helper()
	found := map[string]*page{}
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (strings.HasPrefix(name, ".") || entry.Name() == "testdata" || entry.Name() == "node_modules" || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			found[name], err = readPage(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "docs/architecture.md"} {
		if found[name] == nil {
			t.Fatalf("%s is missing: is this the repository's root?", name)
		}
	}
	return found
}

// trellis builds the CLI once and returns the directory that it is in.
func trellis(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/trellis")
	command.Dir = repository
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building trellis: %v\n%s", err, output)
	}
	return dir
}

// shell runs commands in the repository's root and returns what they printed.
func shell(t *testing.T, bin, commands, input string) (stdout, all string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", "-eu", "-c", commands)
	command.Dir = repository
	command.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	command.Stdin = strings.NewReader(input)
	var out, problem strings.Builder
	command.Stdout, command.Stderr = &out, &problem
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("running %s: %v", commands, err)
	}
	return out.String(), out.String() + problem.String(), code
}

func TestCommandsOfEveryPageWork(t *testing.T) {
	bin := trellis(t)
	commands, err := newInspector(repository, func(verb string) (string, error) {
		output, _, code := shell(t, bin, "trellis "+verb+" --help", "")
		if code != 0 || !strings.Contains(output, "trellis "+verb) {
			return "", fmt.Errorf("no verb %s", verb)
		}
		return output, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range pages(t) {
		for i, b := range p.blocks {
			words := strings.Fields(b.info)
			switch {
			case len(words) == 0 && name != generated:
				t.Errorf("%s:%d: a block without info string", name, b.line)
			case len(words) == 0:
			case words[0] == "output" && (i == 0 || !strings.HasPrefix(p.blocks[i-1].info, "sh run")):
				t.Errorf("%s:%d: output of no command", name, b.line)
			case words[0] == "sh":
				for _, problem := range commands.problems(b.text) {
					t.Errorf("%s:%d: %s", name, b.line, problem)
				}
			}
			if len(words) < 2 || words[0] != "sh" || words[1] != "run" {
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", name, b.line), func(t *testing.T) {
				want := 0
				if len(words) > 2 {
					if _, err := fmt.Sscanf(words[2], "exit=%d", &want); err != nil {
						t.Fatalf("info string %q: %v", b.info, err)
					}
				}
				output, all, code := shell(t, bin, b.text, "")
				if code != want {
					t.Errorf("exit code %d, want %d:\n%s", code, want, all)
				}
				if i+1 < len(p.blocks) && p.blocks[i+1].info == "output" && !alike(p.blocks[i+1].text, output) {
					t.Errorf("line %d says:\n%s\nand it printed:\n%s", p.blocks[i+1].line, p.blocks[i+1].text, output)
				}
			})
		}
	}
}

// alike compares a page with what was printed; a line of … stands for any lines.
func alike(page, printed string) bool {
	parts := strings.Split("\n"+page, "\n…\n")
	rest := "\n" + printed
	for i, part := range parts {
		k := strings.Index(rest, part)
		if k < 0 || (i == 0 && k != 0) {
			return false
		}
		rest = rest[k+len(part):]
		if i < len(parts)-1 {
			rest = "\n" + rest
		}
	}
	return strings.HasSuffix(page, "\n…\n") || strings.TrimSpace(rest) == ""
}

func TestYAMLOfEveryPageIsValid(t *testing.T) {
	bin := trellis(t)
	checker, err := schema.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range pages(t) {
		for _, b := range p.blocks {
			words := strings.Fields(b.info)
			if len(words) == 0 || words[0] != "yaml" {
				continue
			}
			where := fmt.Sprintf("%s:%d", name, b.line)
			switch {
			case len(words) == 1:
				for _, problem := range shape(t, checker, b.text) {
					t.Errorf("%s: %s", where, problem)
				}
			case words[1] == "check":
				if _, all, code := shell(t, bin, "trellis check -f "+platform+" -f -", b.text); code != 0 {
					t.Errorf("%s: trellis check ends with %d:\n%s", where, code, all)
				}
			case words[1] == "mesh":
				if err := yaml.UnmarshalStrict([]byte(b.text), &map[string]any{}); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			case words[1] == "part" && len(words) == 3:
				for _, problem := range partOf(t, checker, words[2], b.text) {
					t.Errorf("%s: %s", where, problem)
				}
			default:
				t.Errorf("%s: info string %q means nothing", where, b.info)
			}
		}
	}
}

// shape says what an API server would refuse in documents of Trellis's kinds.
func shape(t *testing.T, checker *schema.Checker, text string) []string {
	t.Helper()
	set, err := document.Read([]string{"-"}, strings.NewReader(text), document.Options{Cluster: "docs", Scope: checker.Scope})
	if err != nil {
		t.Fatal(err)
	}
	_, findings := checker.Read(t.Context(), set)
	var out []string
	for _, f := range slices.Concat(set.Findings, findings) {
		out = append(out, fmt.Sprintf("line %d: %s: %s: %s", f.Position.Line, f.Field, f.Reason, f.Message))
	}
	return out
}

// partOf checks a part of a document for what is wrong with what is there; that
// something else is missing is no fault of a part.
func partOf(t *testing.T, checker *schema.Checker, kind, text string) []string {
	t.Helper()
	whole := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &whole); err != nil {
		return []string{err.Error()}
	}
	whole["apiVersion"], whole["kind"] = "trellis.dev/v1alpha1", kind
	metadata := map[string]any{"name": "part"}
	if checker.Scope(v1alpha1.GroupVersion.WithKind(kind)) == document.ScopeNamespaced {
		metadata["namespace"] = "part"
	}
	whole["metadata"] = metadata
	document, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(shape(t, checker, string(document)), func(problem string) bool {
		return strings.Contains(problem, " is missing") || strings.Contains(problem, "there is no port ") ||
			strings.Contains(problem, "there is no route ")
	})
}

func TestLinksOfEveryPageLeadSomewhere(t *testing.T) {
	all := pages(t)
	for name, p := range all {
		for _, l := range p.links {
			if strings.HasPrefix(l.target, "https://") {
				continue
			}
			file, fragment, _ := strings.Cut(l.target, "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s:%d: %s leads nowhere", name, l.line, l.target)
				continue
			}
			if fragment != "" && (all[target] == nil || !all[target].anchors[fragment]) {
				t.Errorf("%s:%d: %s has no heading #%s", name, l.line, target, fragment)
			}
		}
	}
}

// plainMesh is the example without an Application.
const plainMesh = "mutual-tls"

// An accepted example is checked beside other folders, and says nothing but what is here.
type accepted struct {
	beside string
	// code and says are what check answers.
	code int
	says []string
}

// examples are the folders that need something else than the platform of bookinfo, or of
// which something is to be said.
var examples = map[string]accepted{
	"bookinfo": {}, plainMesh: {},
	"policies":          {says: []string{"PolicyExempt", "PolicyWouldRefuse", "no errors and"}},
	"policy-rollout":    {beside: "examples/policies", says: []string{"PolicyExempt", "PolicyWouldRefuse", "no errors and"}},
	"policies-asserted": {beside: "examples/bookinfo"},
	"policies-not-kept": {
		beside: "examples/policies", code: 2,
		says: []string{"PolicyViolated", "PolicyExempt", "PolicyWouldRefuse", "1 error and"},
	},
}

func TestEveryExampleIsAcceptedAsItIs(t *testing.T) {
	bin := trellis(t)
	entries, err := os.ReadDir(filepath.Join(repository, "examples"))
	if err != nil || len(entries) < 2 {
		t.Fatalf("finding the examples: %v, %v", entries, err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			example, special := examples[entry.Name()]
			if !special {
				example.beside = platform
			}
			paths := "-f examples/" + entry.Name()
			if example.beside != "" {
				paths += " -f " + example.beside
			}
			output, all, code := shell(t, bin, "trellis check "+paths, "")
			if code != example.code || !example.holds(output) {
				t.Errorf("check ends with %d:\n%s", code, all)
			}
			if entry.Name() == plainMesh || code != 0 {
				return
			}
			output, all, code = shell(t, bin, "trellis render "+paths, "")
			if code != 0 || !strings.Contains(output, "kind: AuthorizationPolicy") {
				t.Errorf("render ends with %d:\n%s", code, all)
			}
		})
	}
}

// holds reports whether an answer says what is expected, and of nothing else.
func (e accepted) holds(output string) bool {
	if len(e.says) == 0 {
		return strings.HasPrefix(output, "no problems: ")
	}
	for _, word := range e.says {
		if !strings.Contains(output, word) {
			return false
		}
	}
	for _, match := range reasonOfLine.FindAllStringSubmatch(output, -1) {
		if !slices.Contains(e.says, match[1]) {
			return false
		}
	}
	return true
}

// reasonOfLine is in the first line of each finding.
var reasonOfLine = regexp.MustCompile(`(?m)^[^ ].*: (?:error|warning): (\w+) `)
