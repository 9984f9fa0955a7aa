// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package output

import "strings"

// Shell is a command as a person types it into a POSIX shell.
func Shell(words ...string) string {
	out := make([]string, 0, len(words))
	for _, word := range words {
		out = append(out, quoted(word))
	}
	return Printable(strings.Join(out, " "))
}
