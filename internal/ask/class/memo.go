// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package class

import (
	"fmt"
	"strings"
	"sync"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
)

// Memo remembers how dimensions were split: methods, issuers and claims are the same
// on most hosts, and often the paths. The zero value is empty. It is safe for
// concurrent use; what it gives is read only.
type Memo struct {
	mu    sync.Mutex
	known map[string]splitting
}

type splitting struct {
	values   []Value
	complete bool
}

// Bounds of what is remembered: so many splittings, of so few patterns.
const (
	maxRemembered = 10_000
	maxPatterns   = 64
)

// Split is the function of that name.
func (m *Memo) Split(d Dimension, was Value, has bool, fresh []atom.Pattern, preferred []string) (out []Value, complete bool) {
	if len(was.Patterns)+len(fresh) > maxPatterns || len(preferred) > 0 {
		return Split(d, was, has, fresh, preferred)
	}
	var key strings.Builder
	fmt.Fprintf(&key, "%d %q %v %v %q %v %v", d.Kind, d.Name, has, was.Absent, was.Texts, was.Single, was.Signs)
	for _, patterns := range [2][]atom.Pattern{was.Patterns, fresh} {
		key.WriteByte('\n')
		for _, p := range patterns {
			fmt.Fprintf(&key, "%d %v %q ", p.Kind, p.Fold, p.Text)
		}
	}
	m.mu.Lock()
	known, ok := m.known[key.String()]
	m.mu.Unlock()
	if ok {
		return known.values, known.complete
	}
	out, complete = Split(d, was, has, fresh, preferred)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]splitting{}
	}
	if len(m.known) < maxRemembered {
		m.known[key.String()] = splitting{out, complete}
	}
	return out, complete
}
