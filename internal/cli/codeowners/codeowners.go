// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package codeowners reads who owns which files of a repository, as GitHub and
// GitLab keep it in a file CODEOWNERS.
package codeowners

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSize is how many bytes of a file are read: GitHub takes no larger one.
const maxSize = 3 << 20

// Owners are those of one repository. The zero value knows nobody.
type Owners struct {
	// root is the folder that paths are relative to.
	root  string
	lines []line
}

type line struct {
	pattern *regexp.Regexp
	owners  []string
}

// places are where the forges look for it, the first that is there.
var places = []string{".github/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}

// Find reads the file of the repository that a folder or file is in: the nearest
// above it, up to the one with .git. None is no error.
func Find(of string) (*Owners, error) {
	dir, err := filepath.Abs(of)
	if err != nil {
		return nil, fmt.Errorf("finding the code owners of %s: %w", of, err)
	}
	for {
		for _, place := range places {
			raw, err := read(filepath.Join(dir, place))
			switch {
			case err == nil:
				return &Owners{root: dir, lines: parse(raw)}, nil
			case !errors.Is(err, fs.ErrNotExist):
				return nil, fmt.Errorf("reading the code owners: %w", err)
			}
		}
		_, repository := os.Stat(filepath.Join(dir, ".git"))
		above := filepath.Dir(dir)
		if repository == nil || above == dir {
			return &Owners{}, nil
		}
		dir = above
	}
}

func read(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil && strings.Contains(err.Error(), "not a directory"):
		// The question was about a file, which has nothing below it.
		return "", fs.ErrNotExist
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fs.ErrNotExist
	case info.Size() > maxSize:
		return "", fmt.Errorf("%s is longer than %d MiB", name, maxSize>>20)
	}
	raw, err := os.ReadFile(name)
	return string(raw), err
}

// parse takes the lines that it understands; sections of GitLab and what is no
// pattern are left out.
func parse(text string) []line {
	var out []line
	for row := range strings.Lines(text) {
		if at := strings.Index(row, "#"); at >= 0 {
			row = row[:at]
		}
		words := strings.Fields(row)
		if len(words) == 0 || strings.ContainsAny(words[0][:1], "[^!") {
			continue
		}
		pattern, err := regexp.Compile(expression(words[0]))
		if err != nil {
			continue
		}
		out = append(out, line{pattern, words[1:]})
	}
	return out
}

// expression is a pattern of gitignore as a regular expression of a path without a
// slash at its beginning.
func expression(pattern string) string {
	anchored := strings.Contains(strings.TrimSuffix(pattern, "/"), "/")
	pattern = strings.TrimPrefix(pattern, "/")
	out := "^"
	if !anchored {
		out += "(?:.*/)?"
	}
	// What names a folder is about all that is in it.
	folder := strings.HasSuffix(pattern, "/")
	for rest := strings.TrimSuffix(pattern, "/"); rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/"):
			out, rest = out+"(?:.*/)?", rest[3:]
		case strings.HasPrefix(rest, "**"):
			out, rest = out+".*", rest[2:]
		case rest[0] == '*':
			out, rest = out+"[^/]*", rest[1:]
		case rest[0] == '?':
			out, rest = out+"[^/]", rest[1:]
		default:
			out, rest = out+regexp.QuoteMeta(rest[:1]), rest[1:]
		}
	}
	switch {
	case folder:
		return out + "/.*$"
	case anchored && strings.HasSuffix(pattern, "*"):
		// "docs/*" is about the files in docs, and not about those in folders of it.
		return out + "$"
	}
	return out + "(?:/.*)?$"
}

// Of are the owners of a file; none where nobody is stated. The last line that fits
// decides.
func (o *Owners) Of(file string) []string {
	if o == nil || o.root == "" {
		return nil
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	relative, err := filepath.Rel(o.root, absolute)
	if err != nil || strings.HasPrefix(relative, "..") {
		return nil
	}
	name := path.Clean(filepath.ToSlash(relative))
	for i := len(o.lines) - 1; i >= 0; i-- {
		if o.lines[i].pattern.MatchString(name) {
			return o.lines[i].owners
		}
	}
	return nil
}
