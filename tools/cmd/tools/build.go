// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// progressInterval is how often a step that still runs says so.
const progressInterval = 15 * time.Second

// builder makes tools, one after the other; go build itself uses all cores.
type builder struct {
	ctx   context.Context
	root  string // of the repository
	cache string
	out   io.Writer
}

// lock makes runs that share a cache directory wait for each other; a second
// one then finds everything up to date. The returned function ends the lock.
func (b *builder) lock() (func(), error) {
	if err := os.MkdirAll(filepath.Join(b.cache, "stamps"), 0o755); err != nil {
		return nil, fmt.Errorf("making the cache directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(b.cache, "tools.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the cache directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fmt.Fprintf(b.out, "waiting for another run that uses %s\n", b.cache)
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
			return nil, fmt.Errorf("locking the cache directory: %w", err)
		}
	}
	return func() { _ = file.Close() }, nil
}

// make makes one tool unless it is there and its stamp is right; it reports
// whether there was something to do. The stamp is written last, so that an
// interrupted run starts over.
func (b *builder) make(t tool) (bool, error) {
	want, err := b.stamp(t)
	if err != nil {
		return false, err
	}
	stampFile := filepath.Join(b.cache, "stamps", t.name)
	if have, err := os.ReadFile(stampFile); err == nil && string(have) == want && b.complete(t) {
		return false, nil
	}
	started := time.Now()
	fmt.Fprintf(b.out, "making %s\n", t.name)
	if t.fetch != nil {
		err = t.fetch(b, t)
	} else {
		err = b.compile(t)
	}
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(stampFile, []byte(want), 0o644); err != nil {
		return false, fmt.Errorf("writing the stamp: %w", err)
	}
	fmt.Fprintf(b.out, "making %s: done in %s\n", t.name, elapsed(started))
	return true, nil
}

func (b *builder) complete(t tool) bool {
	for _, file := range t.outputs() {
		if _, err := os.Stat(filepath.Join(b.cache, file)); err != nil {
			return false
		}
	}
	return true
}

func (t tool) outputs() []string {
	if len(t.files) > 0 {
		return t.files
	}
	return []string{filepath.Join("bin", t.name)}
}

// compile builds one Go binary inside the module that pins it.
func (b *builder) compile(t tool) error {
	flags := strings.TrimSpace(t.stamp + " -s -w")
	target := filepath.Join(b.cache, "bin", t.name)
	_, err := b.command(t, "go", "build", "-tags", t.tags, "-ldflags", flags, "-o", target, t.pkg)
	return err
}

// stamp is a digest of everything that decides what the tool is: its pins, its
// own sources where the module has any, how it is built and for what.
func (b *builder) stamp(t tool) (string, error) {
	digest := sha256.New()
	fmt.Fprintln(digest, t.name, t.pkg, t.stamp, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if t.tags != "" || t.static {
		fmt.Fprintln(digest, t.tags, t.static)
	}
	dir := filepath.Join(b.root, t.module)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintln(digest, filepath.Base(path), len(text))
		_, err = digest.Write(text)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the module that pins it, %s, is not in this checkout", t.module)
	}
	if err != nil {
		return "", fmt.Errorf("reading its pins: %w", err)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// command runs one step in the tool's module and returns what it printed on
// standard output. While it runs, a line now and then says for how long; when
// it fails, the error carries the end of what it said.
func (b *builder) command(t tool, name string, args ...string) (string, error) {
	command := exec.CommandContext(b.ctx, name, args...)
	command.Dir = filepath.Join(b.root, t.module)
	// A workspace file above the repository would replace the pins.
	command.Env = append(os.Environ(), "GOWORK=off")
	if t.static {
		command.Env = append(command.Env, "CGO_ENABLED=0")
	}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	var stdout, both bytes.Buffer
	command.Stdout = io.MultiWriter(&stdout, &both)
	command.Stderr = &both
	started := time.Now()
	if err := command.Start(); err != nil {
		return "", fmt.Errorf("starting %s: %w", name, err)
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(b.out, "making %s: %s so far\n", t.name, elapsed(started))
		case err := <-done:
			if err != nil {
				return "", fmt.Errorf("running %s %s: %w\n%s", name, args[0], err, tail(both.String(), 40))
			}
			return stdout.String(), nil
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

func elapsed(since time.Time) time.Duration {
	return time.Since(since).Round(time.Second)
}
