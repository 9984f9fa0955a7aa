// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	pollInterval = 50 * time.Millisecond
	tailLines    = 25
	tailBytes    = 64 << 10
)

// processes starts the programs of a stack so that none survives the process
// that started it, and keeps one log file for each.
type processes struct {
	logs  string
	start chan func()

	mu  sync.Mutex
	all []*process
}

// process is one running program and its children. done is closed when the
// program has ended; err says how and is valid after that.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	stopped atomic.Bool // its end was asked for
}

// newProcesses serves start requests from one OS thread that lives until stop:
// the kernel sends the parent-death signal when the starting *thread* ends, and
// Go gives no promise about other threads.
func newProcesses(logs string) *processes {
	p := &processes{logs: logs, start: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for start := range p.start {
			start()
		}
	}()
	return p
}

// command describes a program to run.
type command struct {
	name string // of the log file
	path string
	args []string
	env  []string // beyond PATH and HOME; nothing else is inherited
	dir  string
}

func (p *processes) run(c command) (*process, error) {
	proc := &process{name: c.name, log: filepath.Join(p.logs, c.name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(proc.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer func() { _ = log.Close() }()
	proc.cmd = &exec.Cmd{
		Path: c.path, Args: append([]string{c.path}, c.args...), Dir: c.dir,
		Env:    append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, c.env...),
		Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	}
	started := make(chan error, 1)
	p.start <- func() { started <- proc.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	go func() {
		proc.err = proc.cmd.Wait()
		close(proc.done)
	}()
	p.mu.Lock()
	p.all = append(p.all, proc)
	p.mu.Unlock()
	return proc, nil
}

// stop kills everything and waits for the end of it.
func (p *processes) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proc := range p.all {
		proc.stopped.Store(true)
		proc.signal(syscall.SIGKILL)
	}
	for _, proc := range p.all {
		<-proc.done
	}
	close(p.start)
}

// signal reaches the program and its children, which share its process group.
func (p *process) signal(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

// kill ends the program and its children at once.
func (p *process) kill() {
	p.stopped.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ready polls check until it returns nil. It gives up when the program ends or
// ctx does; the error then has the last answer and the end of the log.
func (p *process) ready(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := Until(ctx, p.name+" to be ready", check)
	if err == nil {
		return nil
	}
	select {
	case <-p.done:
		err = fmt.Errorf("%s ended before it was ready: %w", p.name, errors.Join(p.err, err))
	default:
	}
	return fmt.Errorf("%w\nthe end of %s:\n%s", err, p.log, tail(p.log))
}

// Until calls check every 50 ms until it returns nil or ctx ends; the error
// names what was awaited and the last error that check returned in time.
func Until(ctx context.Context, what string, check func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var err error
	for {
		latest := check(ctx)
		if latest == nil {
			return nil
		}
		// A check that was cut off says nothing about what it looked at.
		if err == nil || ctx.Err() == nil {
			err = latest
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: last answer: %w", what, context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// tail returns the last lines of a log, for error messages.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "  " + strings.Join(lines, "\n  ")
}
