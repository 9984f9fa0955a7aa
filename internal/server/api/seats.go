// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import "sync"

// seats bound how many do something at the same time: of all viewers, and of one.
type seats struct {
	most, own int

	mu    sync.Mutex
	taken int
	by    map[string]int
}

// enter reports whether there is a seat; whoever has one is to leave it.
func (s *seats) enter(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.most || s.by[who] >= s.own {
		return false
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.taken++
	s.by[who]++
	return true
}

func (s *seats) leave(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[who]--; s.by[who] == 0 {
		delete(s.by, who)
	}
}
