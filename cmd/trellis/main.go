// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command trellis is the command line, also as the kubectl plugin
// kubectl-trellis. All of it is in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// How much garbage may be there for each 100 bytes that are in use: most while that is less
// than roomy, and least where there are so many bytes in use.
const (
	most, least = 200, 100
	roomy       = 256 << 20
)

// percent is how much garbage may be there beside what is in use.
func percent(inUse uint64) int {
	return int(min(most, max(least, 100*roomy/max(inUse, 1))))
}

// balance bounds the garbage after each collection by what that has left.
func balance() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(percent(sample[0].Value.Uint64()))
	// The next collection finds that nobody has it. With a pointer in it, it is no part of a
	// block of others.
	runtime.AddCleanup(&struct{ alone *int }{}, func(struct{}) { balance() }, struct{}{})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if os.Getenv("GOGC") == "" {
		// A command lives for seconds: looking for garbage as often as in a server
		// would take a fifth of them. Where much is in use it is the memory that is short.
		balance()
	}
	code := cli.Main(ctx, os.Args, streams.System())
	stop()
	os.Exit(code)
}
