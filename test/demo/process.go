// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// startPatience bounds how long a program may take to be ready, and
// stopPatience how long it may take to end.
const (
	startPatience = time.Minute
	stopPatience  = 10 * time.Second
)

// process is a program of users that runs.
type process struct {
	name    string
	command *exec.Cmd
	log     *os.File
	done    chan struct{}
	err     error // valid when done is closed
}

// start runs it in a process group of its own, so that Ctrl-C reaches the demo
// alone, and lets it die with the demo, however that ends. The kernel ties that to
// the thread that started it, which therefore waits for it, too.
func (p *process) start(command *exec.Cmd) error {
	p.command = command
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	return nil
}

// failed returns an error when it has ended by itself.
func (p *process) failed() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %w; see %s", p.name, errors.Join(p.err, errors.New("unexpectedly")), p.log.Name())
	default:
		return nil
	}
}

// stop ends it as Kubernetes would: politely first.
func (p *process) stop() {
	if p == nil {
		return
	}
	if p.command != nil && p.command.Process != nil {
		_ = p.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(stopPatience):
			_ = p.command.Process.Kill()
			<-p.done
		}
	}
	_ = p.log.Close()
}

// answers reports whether a URL answers 200.
func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: answered %s", url, response.Status)
	}
	return nil
}
