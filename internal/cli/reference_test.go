// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// TestTheReferenceIsWhatHelpSays keeps docs/reference/cli.md from ageing.
func TestTheReferenceIsWhatHelpSays(t *testing.T) {
	var page strings.Builder
	page.WriteString("# The command line\n\n" +
		"Written by `go test ./internal/cli -update` from the commands' own help. Do not edit.\n\n" +
		"`trellis` is also a plugin of kubectl: put a link named `kubectl-trellis` to it on your\n" +
		"`PATH`, and `kubectl trellis check` is `trellis check`. `trellis completion --help` says how\n" +
		"to complete commands and flags in bash, zsh, fish and PowerShell.\n\n" +
		"Every command exits with 0 when there is nothing wrong, with 1 when it could not do what it\n" +
		"was asked, with 2 when what it read has errors or what was asked for is not so, and with 3 when\n" +
		"the answer is that it cannot be told.\n")
	walk(cli.New("trellis", &streams.Streams{}), func(cmd *cobra.Command) {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n```\n%s\n```\n", cmd.CommandPath(), cmd.Long, cmd.UseLine())
		if cmd.Example != "" {
			fmt.Fprintf(&page, "\nExamples:\n\n```sh\n%s\n```\n", unindented(cmd.Example))
		}
		if cmd.Flags().HasFlags() {
			fmt.Fprintf(&page, "\nFlags:\n\n```\n%s```\n", unindented(cmd.Flags().FlagUsages()))
		}
	})
	golden(t, "../../docs/reference/cli.md", page.String())
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
