// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package publish tells the operator what came of tests, and what would become of the
// stages of MutualTLSRollouts: over HTTPS, to nobody who
// cannot prove to be the operator's ServiceAccount, and as soon as there is news.
package publish

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/verdict"
)

// maxWaiting is how many may wait for news at once: replicas of the operator.
const maxWaiting = 32

// Board holds the last document of one kind. It is safe for concurrent use.
type Board struct {
	mu   sync.Mutex
	last verdict.Document
	// news is closed when there is another document.
	news chan struct{}
}

// NewBoard makes a Board without a document.
func NewBoard() *Board { return &Board{news: make(chan struct{})} }

// Put replaces the document.
func (b *Board) Put(d verdict.Document) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil && b.last.Name() == d.Name() {
		return
	}
	b.last = d
	close(b.news)
	b.news = make(chan struct{})
}

func (b *Board) get() (verdict.Document, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.news
}

// Config is what a Handler works with. All of it is required.
type Config struct {
	Board *Board
	// Guard says who may ask.
	Guard *Guard
	Clock clock.Clock
	Log   *slog.Logger
}

// Handler answers questions of the operator. It is safe for concurrent use.
type Handler struct {
	config  Config
	waiting chan struct{}
	// ended is closed when the server goes: nobody waits for it then.
	ended chan struct{}
}

// NewHandler makes a Handler for verdict.Path or verdict.RolloutPath.
func NewHandler(config Config) *Handler {
	return &Handler{config: config, waiting: make(chan struct{}, maxWaiting), ended: make(chan struct{})}
}

// Start lets callers wait for news until ctx ends, and sends them away then.
func (h *Handler) Start(ctx context.Context) error {
	<-ctx.Done()
	close(h.ended)
	return nil
}

// NeedLeaderElection is false: every replica answers.
func (*Handler) NeedLeaderElection() bool { return false }

// ServeHTTP answers with the document as soon as it is another one than the caller
// knows, and with 304 when there was no other one for a while.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
		return
	}
	if !h.config.Guard.Admits(w, r) {
		return
	}
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		http.Error(w, "too many callers wait for news already", http.StatusTooManyRequests)
		return
	}
	deadline := h.config.Clock.After(verdict.Hold)
	for known := r.URL.Query().Get(verdict.After); ; {
		last, news := h.config.Board.get()
		if last != nil && last.Name() != known {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(last); err != nil {
				h.config.Log.Debug("a caller went away", "error", err)
			}
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		case <-h.ended:
			http.Error(w, "the server ends", http.StatusServiceUnavailable)
			return
		case <-deadline:
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
}
