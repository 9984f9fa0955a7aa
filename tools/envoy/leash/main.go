// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command leash runs a program that the kernel kills when the process that
// started it dies: leash PROGRAM [ARG...].
//
// Istio's pilot-agent starts Envoy without such a tie, so an agent that is
// killed would leave its Envoy behind, still listening. The local stack puts
// this command between the two. It replaces itself with the program, so there
// is no extra process and signals and exit codes are the program's own.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "leash:", err)
		os.Exit(127)
	}
}

func run(command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("no program given: use leash PROGRAM [ARG...]")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	// The setting belongs to the thread and survives exec only on the thread
	// that calls it.
	runtime.LockOSThread()
	parent := syscall.Getppid()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0); errno != 0 {
		return fmt.Errorf("tying the program to its parent: %w", errno)
	}
	// A parent that died before the call above sends no signal any more; the
	// kernel shows it by giving this process another parent.
	if syscall.Getppid() != parent {
		return fmt.Errorf("the parent process has ended")
	}
	if err := syscall.Exec(path, command, os.Environ()); err != nil {
		return fmt.Errorf("running %s: %w", path, err)
	}
	return nil
}
