// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command tools builds the pinned binaries that the local stack, the tests and
// the code generators run: tools [NAME...].
//
// Each binary's version is pinned by a Go module under tools/ (Envoy's and Node's by
// a requirements file with hashes) and lands in the cache directory, .cache in
// the repository or $TRELLIS_CACHE, with a stamp of what it was built from. A
// second run builds nothing. The command knows how to build, not what the
// binaries are for; package test/stack runs them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	chosen, err := choose(tools(), names)
	if err != nil {
		return err
	}
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	cache := os.Getenv("TRELLIS_CACHE")
	if cache == "" {
		cache = filepath.Join(root, ".cache")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return fmt.Errorf("finding the cache directory: %w", err)
	}
	b := &builder{ctx: ctx, root: root, cache: cache, out: os.Stdout}
	started := time.Now()
	unlock, err := b.lock()
	if err != nil {
		return err
	}
	defer unlock()
	made := 0
	for _, t := range chosen {
		fresh, err := b.make(t)
		if err != nil {
			return fmt.Errorf("making %s: %w", t.name, err)
		}
		if fresh {
			made++
		}
	}
	fmt.Fprintf(b.out, "tools: %d of %d made in %s, the others were up to date\n", made, len(chosen), elapsed(started))
	return nil
}

// repositoryRoot finds the directory that holds the root module, so that the
// command works from any directory of the repository.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/trellis-mesh/trellis\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the repository: no go.mod of github.com/trellis-mesh/trellis here or above")
		}
		dir = parent
	}
}

// unknownToolError says which names exist.
type unknownToolError struct {
	name string
	all  []tool
}

func (e *unknownToolError) Error() string {
	names := make([]string, 0, len(e.all))
	for _, t := range e.all {
		names = append(names, t.name)
	}
	return fmt.Sprintf("there is no tool %q; the tools are %s", e.name, strings.Join(names, ", "))
}
