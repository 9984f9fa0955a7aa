// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// believed is how long an answer is taken for true: a right that is taken away is gone
	// by then, and a browser that asks for a page does not cost a review for each part.
	believed = 30 * time.Second
	// maxTokens and maxRights bound what is remembered, for all viewers together.
	maxTokens, maxRights = 1024, 1 << 16
	// maxReviews bounds what the API server is asked at the same time.
	maxReviews = 16
	// LongestToken is how many bytes a token may have: what is longer is nobody's.
	LongestToken = 16 << 10
)

// Gate is a Reviewer that remembers. It is safe for concurrent use.
type Gate struct {
	reviewer Reviewer
	clock    clock.PassiveClock
	turns    chan struct{}

	mu     sync.Mutex
	tokens map[[sha256.Size]byte]known[*Viewer]
	rights map[right]known[bool]
}

// known is an answer and until when it is believed.
type known[T comparable] struct {
	value T
	until time.Time
}

type right struct {
	who string
	Action
}

// NewGate makes a Gate that remembers nothing.
func NewGate(r Reviewer, c clock.PassiveClock) *Gate {
	return &Gate{reviewer: r, clock: c, turns: make(chan struct{}, maxReviews), tokens: map[[sha256.Size]byte]known[*Viewer]{}, rights: map[right]known[bool]{}}
}

// Whose implements Reviewer. Of a token only a hash is kept.
func (g *Gate) Whose(ctx context.Context, token string) (*Viewer, error) {
	if token == "" || len(token) > LongestToken {
		return nil, nil
	}
	key := sha256.Sum256([]byte(token))
	return recall(ctx, g, g.tokens, maxTokens, key, func() (*Viewer, error) { return g.reviewer.Whose(ctx, token) })
}

// May implements Reviewer.
func (g *Gate) May(ctx context.Context, v *Viewer, a Action) (bool, error) {
	return recall(ctx, g, g.rights, maxRights, right{v.identity(), a}, func() (bool, error) { return g.reviewer.May(ctx, v, a) })
}

// recall is what is remembered of a question, or what is said to it now. Errors are not
// remembered.
func recall[K, T comparable](ctx context.Context, g *Gate, of map[K]known[T], most int, key K, ask func() (T, error)) (T, error) {
	g.mu.Lock()
	found, ok := of[key]
	g.mu.Unlock()
	if ok && g.clock.Now().Before(found.until) {
		return found.value, nil
	}
	select {
	case g.turns <- struct{}{}:
		defer func() { <-g.turns }()
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w in time: %w", ErrUnsaid, ctx.Err())
	}
	value, err := ask()
	if err != nil {
		return value, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if len(of) >= most {
		// Those who are nobody, of whom anybody makes up as many as they like, go first.
		var none T
		maps.DeleteFunc(of, func(_ K, k known[T]) bool { return k.value == none || !now.Before(k.until) })
	}
	if len(of) >= most {
		clear(of)
	}
	of[key] = known[T]{value, now.Add(believed)}
	return value, nil
}
