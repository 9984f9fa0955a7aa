// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package tool finds the pinned programs and files that make builds for tests.
package tool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Cache is the directory that they are in: $TRELLIS_CACHE, else .cache of the
// repository. It is absolute and may not be there.
func Cache() (string, error) {
	dir := os.Getenv("TRELLIS_CACHE")
	if dir == "" {
		root, err := Repository()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, ".cache")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the tools: %w", err)
	}
	return dir, nil
}

// Find is the path of a program, which the target of make builds where it is missing.
func Find(name, target string) (string, error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	program := filepath.Join(cache, "bin", name)
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("finding the tools: %w: run make %s", err, target)
	}
	return program, nil
}

// Repository is the directory of the root module, above the working directory.
func Repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/trellis-mesh/trellis\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the repository: %s is not inside it; set TRELLIS_CACHE to the cache directory", start)
		}
	}
}
