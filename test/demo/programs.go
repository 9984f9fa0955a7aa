// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// build makes the servers of the stack and what users get, showing progress.
func (d *demo) build(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	d.repository = filepath.Dir(strings.TrimSpace(string(root)))
	d.tools = filepath.Join(os.Getenv("TRELLIS_CACHE"), "bin")
	if os.Getenv("TRELLIS_CACHE") == "" {
		d.tools = filepath.Join(d.repository, ".cache", "bin")
	}
	if d.dir, err = makeDirectory(filepath.Dir(d.tools)); err != nil {
		return err
	}
	for _, arguments := range [][]string{
		{"go", "run", "./tools/cmd/tools"},
		// As make build does, but for what it takes to share its work with tests.
		{"go", "build", "-o", "bin/", "./cmd/..."},
	} {
		d.view.command(strings.Join(arguments, " "))
		if err := d.show(ctx, arguments); err != nil {
			return err
		}
	}
	return nil
}

// makeDirectory makes the directory for everything of this run.
func makeDirectory(cache string) (string, error) {
	parent := filepath.Join(cache, "run")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("making a directory for the demo: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "demo-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the demo: %w", err)
	}
	return dir, nil
}

// pause is how long a program may work before the story says that it still does.
const pause = 15 * time.Second

// show runs a program in the repository and shows what it says.
func (d *demo) show(ctx context.Context, arguments []string) error {
	writer, end := d.view.progress()
	defer end()
	defer d.view.patient(pause)()
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Dir, command.Stdout, command.Stderr = d.repository, writer, writer
	if err := command.Run(); err != nil {
		return fmt.Errorf("running %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}

// kubectl shows and runs a command, and shows what it says. With a manifest the
// command reads that instead of the file that it names, which is what a person
// would have done with an editor first.
func (d *demo) kubectl(ctx context.Context, manifest []byte, arguments ...string) error {
	d.view.command("kubectl " + strings.Join(arguments, " "))
	if manifest != nil {
		for i, argument := range arguments {
			if argument == "-f" {
				arguments[i+1] = "-"
			}
		}
	}
	output, err := d.run(ctx, bytes.NewReader(manifest), "kubectl", arguments...)
	if err != nil {
		return err
	}
	d.view.block(string(output))
	return nil
}

// run runs a pinned tool as the administrator of the stack, with nothing of the
// settings of whoever started the demo, and returns what it printed.
func (d *demo) run(ctx context.Context, input io.Reader, tool string, arguments ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, filepath.Join(d.tools, tool), arguments...)
	command.Dir, command.Stdin = d.repository, input
	command.Env = []string{"HOME=" + d.dir, "KUBECONFIG=" + d.stack.Kubeconfig()}
	var problem strings.Builder
	command.Stderr = &problem
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("running %s %s: %w: %s", tool, strings.Join(arguments, " "), err, strings.TrimSpace(problem.String()))
	}
	return output, nil
}

// example reads a file of examples/bookinfo.
func (d *demo) example(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(d.repository, exampleFolder, name))
	if err != nil {
		return nil, fmt.Errorf("reading the example: %w", err)
	}
	return text, nil
}

// replaced returns text with the only occurrence of before replaced.
func replaced(text []byte, before, after string) ([]byte, error) {
	if n := bytes.Count(text, []byte(before)); n != 1 {
		return nil, fmt.Errorf("changing the example: %q is in it %d times, want once", before, n)
	}
	return bytes.Replace(text, []byte(before), []byte(after), 1), nil
}
