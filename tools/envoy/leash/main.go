// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command leash runs the program that the environment variable LEASH_PROGRAM
// names, with its own arguments, so that the kernel kills the program when the
// process that started it dies.
//
// Istio's pilot-agent starts Envoy without such a tie, so an agent that is
// killed would leave its Envoy behind, still listening. The local stack gives
// this command as Envoy's binary. It replaces itself with the program, so there
// is no extra process and signals and exit codes are the program's own.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "leash:", err)
		os.Exit(127)
	}
}

func run(arguments []string) error {
	program := os.Getenv("LEASH_PROGRAM")
	if program == "" {
		return fmt.Errorf("no program given: set LEASH_PROGRAM to its path")
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
	if err := syscall.Exec(program, append([]string{program}, arguments...), os.Environ()); err != nil {
		return fmt.Errorf("running %s: %w", program, err)
	}
	return nil
}
