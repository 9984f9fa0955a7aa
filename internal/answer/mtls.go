// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
)

// MutualTLS is what clients send, compared with what services take.
type MutualTLS struct {
	Rows  []mtls.Row `json:"rows"`
	Notes []string   `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Graph is who may use which service, and how that is secured.
type Graph struct {
	*graph.Graph
	// Notes say why something may be missing.
	Notes []string `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}
