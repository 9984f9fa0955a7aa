// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package viewer

// Remembered is how many tokens and rights are remembered.
func (g *Gate) Remembered() (tokens, rights int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.tokens), len(g.rights)
}
