// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"path/filepath"
)

// Program is one program of the tool cache that runs without a stack.
type Program struct {
	// Log is the file with what it prints.
	Log string

	processes *processes
	proc      *process
}

// StartProgram runs a program of the tool cache by its name there, in dir, where
// its log is too, and waits until ready returns nil. It does not outlive this
// process. An error of the start has the end of the log.
func StartProgram(ctx context.Context, dir, name string, args []string, ready func(context.Context) error) (*Program, error) {
	tools, err := findCache()
	if err != nil {
		return nil, err
	}
	p := &Program{Log: filepath.Join(dir, name+".log"), processes: newProcesses(dir)}
	p.proc, err = p.processes.run(command{name: name, path: tools.binary(name), args: args, dir: dir})
	if err != nil {
		p.processes.stop()
		return nil, err
	}
	if err := p.proc.ready(ctx, ready); err != nil {
		p.processes.stop()
		return nil, err
	}
	return p, nil
}

// Stop kills the program and waits for its end. It must be called once.
func (p *Program) Stop() { p.processes.stop() }
