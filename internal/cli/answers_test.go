// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/version"
)

// TestAnswers has a folder for each sentence: files that somebody could apply, and
// questions.txt with commands, each after "$ trellis", and what they answer. Answers
// end with the exit code. -update writes the answers to the commands that are there.
func TestAnswers(t *testing.T) {
	folders, err := filepath.Glob("testdata/answers/*/questions.txt")
	if err != nil || len(folders) < 15 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	for _, file := range folders {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Chdir(filepath.Dir(file))
			raw, err := os.ReadFile("questions.txt")
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			asked := 0
			for line := range strings.Lines(string(raw)) {
				command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "$ trellis ")
				if !ok {
					continue
				}
				asked++
				got := trellis(t, "", words(t, command)...)
				fmt.Fprintf(&out, "$ trellis %s\n%s%s=> %d\n\n", command, got.err, got.out, got.code)
			}
			if asked == 0 {
				t.Fatal("nothing is asked")
			}
			golden(t, "questions.txt", strings.ReplaceAll(out.String(), version.String(), "VERSION"))
		})
	}
}

// words are those of a command as a shell reads them, with single quotes only.
func words(t *testing.T, command string) []string {
	t.Helper()
	var out []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	if strings.Count(command, "'")%2 == 1 {
		t.Fatalf("a quote is missing in %s", command)
	}
	return out
}
