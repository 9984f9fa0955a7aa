// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mtls is the verb "mtls": how workloads secure what they send each other.
package mtls

import (
	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mtls",
		Short: "Say whether clients and services agree on mutual TLS, and why",
		Long: `mtls compares what the proxies of clients send with what the proxies of servers
take. Both are read from the configuration that Istio sends to each of them, endpoint
by endpoint.`,
		Example: `  # Who gets on with whom?
  trellis mtls check -f examples/bookinfo`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCheck(s), newExplain(s), newFix(s), newGraph(s), newPlan(s))
	return cmd
}
