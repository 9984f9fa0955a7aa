// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command trellis is the command line, also as the kubectl plugin
// kubectl-trellis. All of it is in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// gcPercent is how much garbage may be there for each 100 bytes that are in use.
const gcPercent = 200

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if os.Getenv("GOGC") == "" {
		// A command lives for seconds: looking for garbage as often as in a server
		// would take a fifth of them.
		debug.SetGCPercent(gcPercent)
	}
	code := cli.Main(ctx, os.Args, streams.System())
	stop()
	os.Exit(code)
}
