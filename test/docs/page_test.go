// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPageIsReadAsReadersSeeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	text := "# The `Title`, in short!\nSee [a](b.md#c) and `[x](y)`.\n```sh run\nmake [x](y)\n```\n## Two words\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := readPage(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.links) != 1 || p.links[0] != (link{2, "b.md#c"}) {
		t.Errorf("links %v", p.links)
	}
	if len(p.blocks) != 1 || p.blocks[0] != (block{3, "sh run", "make [x](y)\n"}) {
		t.Errorf("blocks %v", p.blocks)
	}
	if !p.anchors["the-title-in-short"] || !p.anchors["two-words"] {
		t.Errorf("anchors %v", p.anchors)
	}
	if err := os.WriteFile(path, []byte("```sh\nmake\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readPage(path); err == nil {
		t.Error("a block without an end was read")
	}
}

func TestCommandsThatDoNotExistAreFound(t *testing.T) {
	i, err := newInspector(repository, func(verb string) (string, error) {
		help, ok := map[string]string{
			"check":      "trellis check\n  -f, --filename path\n",
			"dns":        "trellis dns [command]\n\nAvailable Commands:\n  status\n",
			"dns status": "trellis dns status\n  -A, --all-namespaces\n",
		}[verb]
		if !ok {
			return "", errors.New("unknown")
		}
		return help, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ commands, says string }{
		{"make demo", ""},
		{"make tset", "no target tset"},
		{"make test UNIT_FLAGS=-run=X", ""},
		{"DEMO_ONCE=1 make demo # ends", ""},
		{"trellis check -f examples/bookinfo --filename=x", ""},
		{"trellis chek -f x", "no verb chek"},
		{"trellis check --file x", "no flag --file"},
		{"trellis dns status -A | grep x", ""},
		{"trellis dns status shop.example.com -f x", "trellis dns status has no flag -f"},
		{"trellis dns stauts", "no verb dns stauts"},
		{"trellis dns -A", "trellis dns has no flag -A"},
		{"trellis check -f examples/none", "no file examples/none"},
		{"kubectl get x | trellis check -f -", ""},
		{"kubectl get x | trellis chek", "no verb chek"},
		{"go run ./test/demo", ""},
		{"go run ./test/none", "no package ./test/none"},
		{"frobnicate", "nobody knows"},
		{"cat x |\n  python3 -c '\nfrobnicate | it\n'", ""},
		{"kubectl apply \\\n  -f examples/none", "no file examples/none"},
	} {
		problems := strings.Join(i.problems(c.commands), "; ")
		if (c.says == "") != (problems == "") || !strings.Contains(problems, c.says) {
			t.Errorf("%q: %q, want %q", c.commands, problems, c.says)
		}
	}
}

func TestAnEllipsisStandsForLines(t *testing.T) {
	const printed = "one\ntwo\nthree\n"
	for page, want := range map[string]bool{
		printed: true, "one\n…\nthree\n": true, "one\n…\n": true, "…\nthree\n": true, "…\ntwo\n…\n": true,
		"one\n": false, "one\n…\ntwo\n": false, "two\n…\n": false, "one\nthree\n": false,
	} {
		if alike(page, printed) != want {
			t.Errorf("alike(%q) is not %v", page, want)
		}
	}
}
