// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import "github.com/trellis-mesh/trellis/internal/ask/outgoing"

// Changes are the requests to which a change makes a difference.
type Changes struct {
	outgoing.Changes
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}
