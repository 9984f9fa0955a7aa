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

// startPatience bounds how long the operator may take to be ready, and
// stopPatience how long it may take to end.
const (
	startPatience = time.Minute
	stopPatience  = 10 * time.Second
)

// operator is the running process.
type operator struct {
	command *exec.Cmd
	log     *os.File
	done    chan struct{}
	err     error // valid when done is closed
}

// start runs it in a process group of its own, so that Ctrl-C reaches the demo
// alone, and lets it die with the demo, however that ends. The kernel ties that to
// the thread that started it, which therefore waits for it, too.
func (o *operator) start(command *exec.Cmd) error {
	o.command = command
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			o.err = command.Wait()
			close(o.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting the operator: %w", err)
	}
	return nil
}

// failed returns an error when the operator has ended by itself.
func (o *operator) failed() error {
	if o == nil {
		return nil
	}
	select {
	case <-o.done:
		return fmt.Errorf("the operator has ended: %w; see %s", errors.Join(o.err, errors.New("unexpectedly")), o.log.Name())
	default:
		return nil
	}
}

// stop ends it as Kubernetes would: politely first.
func (o *operator) stop() {
	if o.command != nil && o.command.Process != nil {
		_ = o.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-o.done:
		case <-time.After(stopPatience):
			_ = o.command.Process.Kill()
			<-o.done
		}
	}
	_ = o.log.Close()
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
