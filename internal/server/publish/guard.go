// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
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
	// maxTokens bounds what is remembered.
	maxTokens = 64
)

// GuardConfig is what a Guard works with. All of it is required.
type GuardConfig struct {
	// Client reviews tokens: it needs create on tokenreviews.
	Client client.Client
	// User is who may ask: system:serviceaccount:NAMESPACE:NAME.
	User  string
	Clock clock.Clock
	Log   *slog.Logger
}

// Guard lets one account ask, and nobody else. It is safe for concurrent use.
type Guard struct {
	config GuardConfig

	mu sync.Mutex
	// tokens are those that were good, until when.
	tokens map[string]time.Time
}

// NewGuard makes a Guard that remembers no token.
func NewGuard(config GuardConfig) *Guard {
	return &Guard{config: config, tokens: map[string]time.Time{}}
}

// Admits reports whether a caller may ask, and answers those that may not.
func (g *Guard) Admits(w http.ResponseWriter, r *http.Request) bool {
	status, why := g.admit(r)
	if status != http.StatusOK {
		http.Error(w, why, status)
	}
	return status == http.StatusOK
}

// Before is a handler for those that may ask.
func (g *Guard) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.Admits(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// admit says whether a caller is the operator.
func (g *Guard) admit(r *http.Request) (int, string) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return http.StatusUnauthorized, "a token of " + g.config.User + " for the audience " + verdict.Audience + " is needed"
	}
	now := g.config.Clock.Now()
	g.mu.Lock()
	until, known := g.tokens[token]
	g.mu.Unlock()
	if known && now.Before(until) {
		return http.StatusOK, ""
	}
	user, err := g.review(r.Context(), token)
	switch {
	case err != nil:
		g.config.Log.Warn("a token cannot be reviewed", "error", err)
		return http.StatusServiceUnavailable, "the API server does not say whose the token is"
	case user == "":
		return http.StatusUnauthorized, "the token is not good for the audience " + verdict.Audience
	case user != g.config.User:
		return http.StatusForbidden, user + " may not ask; only " + g.config.User + " may"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) >= maxTokens {
		clear(g.tokens)
	}
	g.tokens[token] = now.Add(believed)
	return http.StatusOK, ""
}

// review asks the API server whose token it is; nobody's is no error.
func (g *Guard) review(ctx context.Context, token string) (string, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{verdict.Audience}}}
	if err := g.config.Client.Create(ctx, review); err != nil {
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
