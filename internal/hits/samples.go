// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// SamplesPerKey is how many requests of one Key are kept as examples, the newest.
	SamplesPerKey = 3
	// MostSampled is of how many keys there are examples; those that were hit last.
	MostSampled = 5_000
	// longestDetails is how many bytes those of a Sample may have.
	longestDetails = 200
)

// Sample is one request that was counted for a Key. Nothing in it identifies a person.
type Sample struct {
	Key
	At time.Time
	// Method is that of HTTP, and Code the status; empty and 0: there was none.
	Method string
	Code   int
	// Details are Envoy's response code details, or those of a connection that ended.
	Details string
	// ID is X-Request-Id, by which somebody finds the line in a log of their own. Clients
	// inside of a mesh may send one, such as a name or a number of a customer: one that is
	// not as proxies make them, 32 hexadecimal digits or a UUID, is left out.
	ID string
}

// NewSample leaves out what no proxy writes, and cuts what is too long.
func NewSample(key Key, at time.Time, method string, code int, details, id string) Sample {
	out := Sample{Key: key, At: at, Method: plain(method, 16), Code: code, Details: details, ID: random(id)}
	if len(details) > longestDetails || !printable(details) {
		out.Details = ""
	}
	return out
}

// plain is a text of letters, digits and dashes alone, and else empty.
func plain(text string, longest int) string {
	if len(text) > longest {
		return ""
	}
	for _, r := range text {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' {
			return ""
		}
	}
	return text
}

// random is a text of 32 hexadecimal digits, with dashes or without, and else empty.
func random(text string) string {
	digits := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-' && len(text) == 36 && (i == 8 || i == 13 || i == 18 || i == 23):
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			digits++
		default:
			return ""
		}
	}
	if digits != 32 {
		return ""
	}
	return text
}

// printable reports whether a text is of ASCII that can be shown.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Samples are examples, bounded in number. The zero value has none. It is safe for
// concurrent use.
type Samples struct {
	mu sync.Mutex
	of map[Key][]Sample
	n  uint64 // how often something was added
}

// Add adds examples, of which the newest stay.
func (s *Samples) Add(all []Sample) {
	if len(all) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.of == nil {
		s.of = map[Key][]Sample{}
	}
	for _, one := range all {
		list := append(s.of[one.Key], one)
		slices.SortStableFunc(list, newest)
		s.of[one.Key] = slices.Clip(list[:min(len(list), SamplesPerKey)])
	}
	if over := len(s.of) - MostSampled; over > 0 {
		keys := slices.SortedFunc(maps.Keys(s.of), func(a, b Key) int {
			return cmp.Or(s.of[a][0].At.Compare(s.of[b][0].At), a.Compare(b))
		})
		for _, k := range keys[:over] {
			delete(s.of, k)
		}
	}
}

func newest(a, b Sample) int { return b.At.Compare(a.At) }

// All are those of keys that a filter wants in (from, to], the newest first.
func (s *Samples) All(of Filter, from, to time.Time) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Sample
	for k, list := range s.of {
		if !of.Matches(k) {
			continue
		}
		for _, one := range list {
			if one.At.After(from) && !one.At.After(to) {
				out = append(out, one)
			}
		}
	}
	slices.SortFunc(out, func(a, b Sample) int { return cmp.Or(newest(a, b), a.Compare(b.Key), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Version changes with each Add.
func (s *Samples) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
