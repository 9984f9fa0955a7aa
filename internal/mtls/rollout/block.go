// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// Block is a client that stands in the way of a stage.
type Block struct {
	// Reason is Conflict or PlaintextSeen (package v1alpha1).
	Reason string `json:"reason"`
	// Client is NAMESPACE/NAME; where nobody knows whose it is, an address, or
	// traffic.UnknownClient.
	Client  string `json:"client"`
	Proxied bool   `json:"proxied"`
	// Port is that of the service, or of the workload where it was seen there.
	Port uint16 `json:"port,omitempty"`
	// Count is how many requests or connections came in plaintext.
	Count uint64 `json:"count,omitempty"`
	Why   string `json:"why"`
}

// Blocks are what blocks a stage, and who could be shut out but was not seen to call in
// plaintext while somebody looked: a client without a proxy, of which nobody knows that
// it calls. Where nothing was seen of the stage's workloads it blocks, too: perhaps nobody
// looked there.
func Blocks(s *Stage, seen *traffic.Seen) (blocks []Block, could []Conflict) {
	called, looked := map[string]bool{}, false
	if seen != nil && !s.Done() {
		for i := range seen.Edges {
			e := &seen.Edges[i]
			if !e.Reaches(s.Name, s.Services) {
				continue
			}
			looked = looked || !e.SentOnly
			if e.Plaintext > 0 {
				called[e.Client] = true
				blocks = append(blocks, Block{Reason: v1alpha1.BlockPlaintextSeen, Client: e.Client, Proxied: e.Proxied, Port: e.Port, Count: e.Plaintext, Why: plaintext(e)})
			}
		}
	}
	for _, c := range s.Conflicts {
		switch {
		case s.Done() || called[c.Client]:
		case looked && !c.Proxied:
			could = append(could, c)
		default:
			blocks = append(blocks, Block{Reason: v1alpha1.BlockConflict, Client: c.Client, Proxied: c.Proxied, Port: c.Port, Why: c.Why})
		}
	}
	slices.SortStableFunc(blocks, func(a, b Block) int {
		return cmp.Or(strings.Compare(a.Client, b.Client), cmp.Compare(a.Port, b.Port))
	})
	return blocks, could
}

func plaintext(e *traffic.Edge) string {
	out := fmt.Sprintf("plaintext of it was seen %d times", e.Plaintext)
	if e.LastPlaintext != nil {
		out += ", last at " + e.LastPlaintext.UTC().Format(time.RFC3339)
	}
	return out
}
