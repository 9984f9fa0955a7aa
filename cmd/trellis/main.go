// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Command trellis is the command line, also as the kubectl plugin
// kubectl-trellis. All of it is in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args, streams.System())
	stop()
	os.Exit(code)
}
