// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Stdin is the path that means standard input.
const Stdin = "-"

// extensions are read inside a directory. A file that is named itself is read
// whatever its name.
var extensions = []string{".yaml", ".yml", ".json"}

// Extensions are what the names of files end in that are read inside a directory.
func Extensions() []string { return slices.Clone(extensions) }

// Read reads files and directories, in the order given; a directory is read
// recursively in the order of names, without hidden files. Files that cannot be
// opened are errors; everything that is wrong inside them is a finding.
func Read(paths []string, stdin io.Reader, options Options) (*Set, error) {
	r := &reader{
		set:     &Set{Skipped: map[schema.GroupKind]int{}, index: map[model.Reference]located{}},
		options: options,
	}
	defer r.parsing.Wait()
	for _, path := range paths {
		if path == Stdin {
			if err := r.read("stdin", stdin); err != nil {
				return nil, err
			}
			continue
		}
		files, err := list(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := r.readFile(file); err != nil {
				return nil, err
			}
		}
	}
	r.takeAll()
	return r.set, nil
}

// list is the files at a path.
func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading documents: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case file != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case slices.Contains(extensions, strings.ToLower(filepath.Ext(file))) && isFile(file):
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading documents: %w", err)
	}
	return files, nil
}

// isFile follows links: a mounted ConfigMap is made of them. Pipes and devices
// in a directory are nobody's documents.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (r *reader) readFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading documents: %w", err)
	}
	return errors.Join(r.read(path, file), file.Close())
}

func (r *reader) read(name string, from io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(from, MaxFileBytes+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	r.bytes += int64(len(raw))
	if len(raw) > MaxFileBytes || r.bytes > MaxTotalBytes {
		// What is said about the files before it comes first.
		r.takeAll()
		r.set.add(model.Finding{
			Severity: model.SeverityError, Position: model.Position{File: name, Line: 1},
			Reason:  ReasonTooLarge,
			Message: fmt.Sprintf("the file takes more than is read: at most %d MiB per file and %d MiB together", MaxFileBytes>>20, MaxTotalBytes>>20),
			Owner:   owner, Fix: "split it, or name only the files that belong to this mesh",
		})
		return nil
	}
	r.set.Files++
	r.split(name, spacesForTabs(raw))
	return nil
}
