// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/version"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/reference/cli.md")

func TestMain(m *testing.M) {
	code := m.Run()
	stopCluster()
	os.Exit(code)
}

type result struct {
	code     int
	out, err string
}

func trellis(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	s, out, err := streams.Buffers(stdin)
	code := cli.Main(t.Context(), append([]string{"trellis"}, args...), s)
	return result{code, out.String(), err.String()}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the output differs from %s (rewrite it with -update):\n%s", path, got)
	}
}

// TestRefusals has a folder for each sentence: its in.yaml is checked beside
// mesh.yaml, and findings.txt is what a person reads.
func TestRefusals(t *testing.T) {
	t.Chdir("testdata")
	folders, err := filepath.Glob("refusals/*")
	if err != nil || len(folders) < 40 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	baseline := neighbours(t, trellis(t, "", "render", "-f", "mesh.yaml").out)
	if len(baseline) < 4 {
		t.Fatalf("only %d objects are the neighbour's", len(baseline))
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			files := []string{"-f", "mesh.yaml", "-f", filepath.Join(folder, "in.yaml")}
			checked := trellis(t, "", append([]string{"check"}, files...)...)
			golden(t, filepath.Join(folder, "findings.txt"), checked.out)
			want := 0
			if strings.Contains(checked.out, ": error: ") {
				want = 2
			}
			rendered := trellis(t, "", append([]string{"render"}, files...)...)
			if checked.code != want || rendered.code != want {
				t.Errorf("exit codes %d of check and %d of render, want %d", checked.code, rendered.code, want)
			}
			if !strings.HasPrefix(checked.out, rendered.err) {
				t.Errorf("render found something else than check:\n%s", rendered.err)
			}
			for name, object := range neighbours(t, rendered.out) {
				if baseline[name] != object {
					t.Errorf("the neighbour's %s changed:\n%s", name, object)
				}
				if strings.Contains(object, "PRIVATE KEY") {
					t.Errorf("%s holds a key", name)
				}
			}
			if got := len(neighbours(t, rendered.out)); got != len(baseline) {
				t.Errorf("the neighbour has %d objects, and %d where nobody makes mistakes", got, len(baseline))
			}
		})
	}
}

// neighbours are the rendered objects of the namespace neighbour, by name.
func neighbours(t *testing.T, rendered string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, document := range strings.Split(rendered, "---\n") {
		var object struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
			Spec     struct{ Namespace string }
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Metadata.Namespace == "neighbour" || object.Spec.Namespace == "neighbour" {
			out[object.Kind+"/"+object.Metadata.Name] = document
		}
	}
	return out
}

func TestTenThousandRoutesAreRefusedWithTheLimitNamed(t *testing.T) {
	var text strings.Builder
	text.WriteString("apiVersion: trellis.dev/v1alpha1\nkind: Application\nmetadata: {name: big, namespace: shop}\nspec:\n  service: shop\n  ports: [{name: web, port: 80, protocol: HTTP}]\n  routes:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {name: r%d, port: web, paths: [{exact: /%d}]}\n", i, i)
	}
	got := trellis(t, text.String(), "check", "-f", "-")
	if got.code != 2 || !strings.Contains(got.out, "stdin:7: error: TooManyRoutes Application shop/big spec.routes\n  there are 10000 routes where at most 64 are taken") || !strings.Contains(got.out, "1 error and 0 warnings") {
		t.Errorf("%+v", got)
	}
	if rendered := trellis(t, text.String(), "render", "-f", "-"); rendered.code != 2 || rendered.out != "" {
		t.Errorf("something was rendered: %.500s", rendered.out)
	}
}

func TestEveryFormatTellsTheSame(t *testing.T) {
	t.Chdir("testdata")
	for _, format := range []string{"text", "json", "sarif", "junit"} {
		t.Run(format, func(t *testing.T) {
			got := trellis(t, "name: values\n---\n{", "check", "-f", "mesh.yaml", "-f", "refusals/unknown-fields/in.yaml", "-f", "-", "-o", format)
			if got.code != 2 || got.err != "" {
				t.Errorf("exit code %d, standard error %q", got.code, got.err)
			}
			golden(t, "formats/"+format+".txt", strings.ReplaceAll(got.out, version.String(), "VERSION"))
		})
	}
}

func TestExitCodesAndMessagesOfWrongUse(t *testing.T) {
	const instead = "name files, directories with files whose names end in .yaml, .yml, .json, or - for standard input\n"
	const clean = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	cases := []struct {
		name, stdin string
		args        []string
		code        int
		out, err    string
	}{
		{"nothing wrong", clean, []string{"check", "-f", "-"}, 0, "no problems: 0 objects in 1 file\n", ""},
		{"no files", "", []string{"check"}, 1, "", "error: nothing to read: name files or directories with -f, or - for standard input\n"},
		{"nothing on standard input", "# Nothing\n", []string{"check", "-f", "-"}, 1, "", "error: no document to read in -: " + instead},
		{"a directory without documents", "", []string{"check", "-f", "check"}, 1, "", "error: no document to read in check: " + instead},
		{"a report of nothing", "", []string{"report", "-f", "-"}, 1, "", "error: no document to read in -: " + instead},
		{"a question about nothing", "", []string{"exposed", "-f", "-"}, 1, "", "error: no document to read in -: " + instead},
		{"nothing became nothing", "", []string{"diff", "check", "check"}, 0, "no change in access\n", ""},
		{"a file that does not exist", "", []string{"render", "-f", "absent.yaml"}, 1, "", "error: reading documents: stat absent.yaml: no such file or directory\n"},
		{"a format that does not exist", clean, []string{"check", "-f", "-", "-o", "xml"}, 1, "", "error: reading -o: \"xml\" is none of text, json, sarif, junit\n"},
		{"a flag that does not exist", "", []string{"check", "--fil", "x"}, 1, "", "error: unknown flag: --fil\nSee 'trellis check --help'.\n"},
		{"a command that does not exist", "", []string{"chek"}, 1, "", "error: unknown command \"chek\" for \"trellis\"\n\nDid you mean this?\n\tcheck\n"},
		{"an argument where none is taken", clean, []string{"check", "x"}, 1, "", "error: unknown command \"x\" for \"trellis check\"; it is: trellis check -f PATH... [flags]\nSee 'trellis check --help'.\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := trellis(t, c.stdin, c.args...)
			if got.code != c.code || got.out != c.out || got.err != c.err {
				t.Errorf("exit code %d\n%q\n%q", got.code, got.out, got.err)
			}
		})
	}
}

func TestCompletionIsWrittenForEveryShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := trellis(t, "", "completion", shell); got.code != 0 || len(got.out) < 1000 {
			t.Errorf("%s: %d bytes, exit code %d, %s", shell, len(got.out), got.code, got.err)
		}
	}
	if got := trellis(t, "", "__complete", "check", "-o", ""); !strings.HasPrefix(got.out, "text\njson\nsarif\njunit\n") {
		t.Errorf("formats are completed as %q", got.out)
	}
}

func TestThePluginOfKubectlShowsWhatPeopleType(t *testing.T) {
	s, out, _ := streams.Buffers("")
	if code := cli.Main(t.Context(), []string{"/usr/local/bin/kubectl-trellis", "check", "--help"}, s); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if !strings.Contains(out.String(), "kubectl trellis check -f PATH") {
		t.Errorf("help of the plugin:\n%s", out)
	}
}

func TestFlagsAndMeshConfigurationDecideTheTrustDomain(t *testing.T) {
	t.Chdir("testdata")
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'trustDomain: from.file'}\n"
	cases := []struct {
		name, stdin, want string
		args              []string
	}{
		{"Istio's default", "", "cluster.local/ns/neighbour/sa/gateway", nil},
		{"the files", config, "from.file/ns/neighbour/sa/gateway", nil},
		{"the flag wins", config, "from.flag/ns/neighbour/sa/gateway", []string{"--trust-domain", "from.flag"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := trellis(t, c.stdin, append([]string{"render", "-f", "mesh.yaml", "-f", "-"}, c.args...)...)
			if !strings.Contains(got.out, c.want) {
				t.Errorf("no %s in what was rendered", c.want)
			}
		})
	}
}

func TestJSONAndYAMLAreTheSameObjects(t *testing.T) {
	t.Chdir("testdata")
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(trellis(t, "", "render", "-f", "mesh.yaml", "-o", "json").out), &list); err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(trellis(t, "", "render", "-f", "mesh.yaml").out, "---\n")
	if len(list.Items) != len(documents) || len(documents) < 4 {
		t.Fatalf("%d items and %d documents", len(list.Items), len(documents))
	}
	for i, document := range documents {
		asJSON, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(asJSON, list.Items[i]) {
			t.Errorf("item %d differs:\n%s\n%s", i, asJSON, list.Items[i])
		}
	}
}

// TestEveryExampleRuns runs the examples of all help texts as a shell would, in
// the repository's root.
func TestEveryExampleRuns(t *testing.T) {
	bin, work := t.TempDir(), t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// What people run, and not this test's binary: that takes a second to start.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/trellis")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, said)
	}
	if err := os.Symlink(filepath.Join(root, "examples"), filepath.Join(work, "examples")); err != nil {
		t.Fatal(err)
	}
	kubeconfig := exampleWorld(t)
	ran := 0
	walk(cli.New("trellis", &streams.Streams{}), func(cmd *cobra.Command) {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, line := range strings.Split(cmd.Example, "\n") {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if strings.Contains(line, "--context") || strings.Contains(line, "--config-dump") {
				// Of a running mesh, which test/e2e/questions asks in all these ways.
				continue
			}
			ran++
			shell := exec.CommandContext(t.Context(), "sh", "-e", "-c", line)
			shell.Dir = work
			shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig)
			run := shell.CombinedOutput
			if strings.Contains(line, "--watch") {
				// The shell must not stand between the command and Ctrl-C.
				shell.Args[len(shell.Args)-1] = "exec " + line
				run = func() ([]byte, error) { return interrupted(shell) }
			}
			// A shell tells nothing of a pipe's first command but what it says.
			if output, err := run(); err != nil || bytes.Contains(output, []byte("No such file")) {
				t.Errorf("%s: %v\n%s", line, err, output)
			}
		}
	})
	if ran < 16 {
		t.Errorf("only %d examples ran", ran)
	}
}

// interrupted runs a command until it has written something, and presses Ctrl-C.
func interrupted(command *exec.Cmd) ([]byte, error) {
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	first := make([]byte, 1<<12)
	n, err := out.Read(first)
	if err != nil {
		return nil, errors.Join(err, command.Wait())
	}
	err = command.Process.Signal(os.Interrupt)
	rest, readErr := io.ReadAll(out)
	return append(first[:n], rest...), errors.Join(err, readErr, command.Wait())
}

// walk visits the commands that we wrote, in the order of help.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		if child.Name() != "completion" && child.Name() != "help" {
			walk(child, visit)
		}
	}
}

// FuzzCheck holds the whole way from bytes to report to never panicking and to
// an exit code that agrees with what is written.
func FuzzCheck(f *testing.F) {
	for _, name := range []string{"testdata/mesh.yaml", "testdata/refusals/unknown-fields/in.yaml", "testdata/refusals/same-issuer-with-other-keys-on-the-same-pods/in.yaml"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<15 {
			t.Skip()
		}
		for _, verb := range []string{"check", "render"} {
			got := trellis(t, string(raw), verb, "-f", "-")
			if got.code == 1 {
				t.Fatalf("%s failed: %s", verb, got.err)
			}
			if again := trellis(t, string(raw), verb, "-f", "-"); again != got {
				t.Errorf("%s gave two answers:\n%s\n%s", verb, got.out+got.err, again.out+again.err)
			}
			if errors := strings.Contains(got.out+got.err, " error: "); verb == "check" && (got.code == 2) != errors && !strings.HasPrefix(got.out, "error: ") {
				t.Errorf("exit code %d:\n%s", got.code, got.out)
			}
		}
	})
}
