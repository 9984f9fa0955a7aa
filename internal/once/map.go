// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package once keeps values that are made when somebody first asks for them: what a
// configuration means is worked out once, for all requests that are decided by it.
package once

import "sync"

// Map has a value for each key, made when it is first asked for and once only. Values
// of different keys are made at the same time, and who asks for one waits for that one
// alone. The zero Map is empty, and safe for concurrent use.
type Map[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]func() V
}

// Get is the value of a key. Make must not ask for the same key.
func (m *Map[K, V]) Get(key K, make func() V) V {
	return m.entry(key, make)()
}

func (m *Map[K, V]) entry(key K, make func() V) func() V {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.values[key]
	if !ok {
		if m.values == nil {
			m.values = map[K]func() V{}
		}
		value = sync.OnceValue(make)
		m.values[key] = value
	}
	return value
}
