// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// elsewhere are programs that a reader has and that the test does not look into.
var elsewhere = []string{
	"kubectl", "helm", "curl", "git", "cd", "export", "istioctl", "cat", "diff", "grep", "sed", "python3", "cp", "cut", "head",
	"mkdir", "rm",
}

// inspector knows what commands of this repository exist.
type inspector struct {
	root string
	// help returns what trellis VERB --help says, or an error without that verb.
	help func(verb string) (string, error)
	// targets of the Makefile.
	targets []string
}

// quoted text is data for a program, whatever it looks like.
var quoted = regexp.MustCompile(`'[^']*'|"[^"]*"`)

var targetPattern = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)

func newInspector(root string, help func(string) (string, error)) (*inspector, error) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, fmt.Errorf("reading the targets: %w", err)
	}
	i := &inspector{root: root, help: help}
	for _, match := range targetPattern.FindAllStringSubmatch(string(text), -1) {
		i.targets = append(i.targets, match[1])
	}
	return i, nil
}

// problems says what in the commands of a block does not exist.
func (i *inspector) problems(text string) []string {
	text = quoted.ReplaceAllString(strings.ReplaceAll(text, "\\\n", " "), "QUOTED")
	text = strings.ReplaceAll(text, "|\n", "|")
	var out []string
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for command := range strings.SplitSeq(line, "|") {
			words := strings.Fields(command)
			for len(words) > 0 && strings.Contains(words[0], "=") {
				words = words[1:] // settings of this command
			}
			if len(words) == 0 {
				continue
			}
			if problem := i.problem(words); problem != "" {
				out = append(out, fmt.Sprintf("%q: %s", strings.TrimSpace(command), problem))
			}
		}
	}
	return out
}

func (i *inspector) problem(words []string) string {
	switch words[0] {
	case "make":
		for _, target := range words[1:] {
			if !strings.Contains(target, "=") && !slices.Contains(i.targets, target) {
				return "the Makefile has no target " + target
			}
		}
		return ""
	case "go":
		return i.goProblem(words[1:])
	case "trellis":
		return i.trellisProblem(words[1:])
	}
	if !slices.Contains(elsewhere, words[0]) {
		return "nobody knows the program " + words[0]
	}
	return i.missingPath(words)
}

// goProblem looks for packages and, with -run, for a test of that name.
func (i *inspector) goProblem(words []string) string {
	for _, word := range words {
		if dir, ok := strings.CutPrefix(word, "./"); ok {
			if _, err := os.Stat(filepath.Join(i.root, strings.TrimSuffix(dir, "/..."))); err != nil {
				return "there is no package " + word
			}
		}
	}
	return ""
}

func (i *inspector) trellisProblem(words []string) string {
	if len(words) == 0 {
		return ""
	}
	help, err := i.help(words[0])
	if err != nil {
		return "there is no verb " + words[0]
	}
	// A verb that has verbs: its own flags are those of the second word.
	if len(words) > 1 && !strings.HasPrefix(words[1], "-") && strings.Contains(help, "\nAvailable Commands:\n") {
		words = append([]string{words[0] + " " + words[1]}, words[2:]...)
		if help, err = i.help(words[0]); err != nil {
			return "there is no verb " + words[0]
		}
	}
	for _, word := range words[1:] {
		flag, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(flag, "-") && flag != "-" && !regexp.MustCompile(`(?m)(^|[\s,])`+regexp.QuoteMeta(flag)+`[\s,]`).MatchString(help) {
			return "trellis " + words[0] + " has no flag " + flag
		}
	}
	return i.missingPath(words)
}

// missingPath looks for files of the repository that a command names.
func (i *inspector) missingPath(words []string) string {
	for _, word := range words {
		for _, top := range []string{"examples/", "charts/", "config/", "docs/"} {
			if !strings.HasPrefix(word, top) {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(i.root, word)); err != nil || len(found) == 0 {
				return "there is no file " + word
			}
		}
	}
	return ""
}
