// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package publish tells the operator what came of tests, and what would become of the
// stages of MutualTLSRollouts: over HTTPS, to nobody who
// cannot prove to be the operator's ServiceAccount, and as soon as there is news.
package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// believed is how long a token that was reviewed is taken for good.
	believed = time.Minute
	// maxWaiting is how many may wait for news at once: replicas of the operator.
	maxWaiting = 32
	// maxTokens bounds what is remembered.
	maxTokens = 64
)

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
	// Client reviews tokens: it needs create on tokenreviews.
	Client client.Client
	// User is who may ask: system:serviceaccount:NAMESPACE:NAME.
	User  string
	Clock clock.Clock
	Log   *slog.Logger
}

// Handler answers questions of the operator. It is safe for concurrent use.
type Handler struct {
	config  Config
	waiting chan struct{}
	// ended is closed when the server goes: nobody waits for it then.
	ended chan struct{}

	mu sync.Mutex
	// tokens are those that were good, until when.
	tokens map[string]time.Time
}

// NewHandler makes a Handler for verdict.Path or verdict.RolloutPath.
func NewHandler(config Config) *Handler {
	return &Handler{config: config, waiting: make(chan struct{}, maxWaiting), ended: make(chan struct{}), tokens: map[string]time.Time{}}
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
	status, why := h.admit(r)
	if status != http.StatusOK {
		http.Error(w, why, status)
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

// admit says whether a caller is the operator.
func (h *Handler) admit(r *http.Request) (int, string) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return http.StatusUnauthorized, "a token of " + h.config.User + " for the audience " + verdict.Audience + " is needed"
	}
	now := h.config.Clock.Now()
	h.mu.Lock()
	until, known := h.tokens[token]
	h.mu.Unlock()
	if known && now.Before(until) {
		return http.StatusOK, ""
	}
	user, err := h.review(r.Context(), token)
	switch {
	case err != nil:
		h.config.Log.Warn("a token cannot be reviewed", "error", err)
		return http.StatusServiceUnavailable, "the API server does not say whose the token is"
	case user == "":
		return http.StatusUnauthorized, "the token is not good for the audience " + verdict.Audience
	case user != h.config.User:
		return http.StatusForbidden, user + " may not ask; only " + h.config.User + " may"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tokens) >= maxTokens {
		clear(h.tokens)
	}
	h.tokens[token] = now.Add(believed)
	return http.StatusOK, ""
}

// review asks the API server whose token it is; nobody's is no error.
func (h *Handler) review(ctx context.Context, token string) (string, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{verdict.Audience}}}
	if err := h.config.Client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("reviewing a token: %w", err)
	}
	if !review.Status.Authenticated {
		return "", nil
	}
	// An API server that knows no audiences answers with none: then it has not
	// looked at them.
	for _, audience := range review.Status.Audiences {
		if audience == verdict.Audience {
			return review.Status.User.Username, nil
		}
	}
	return "", nil
}
