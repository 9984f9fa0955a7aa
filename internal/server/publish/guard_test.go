// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/verdict"
)

// reviewer is an API server that knows some tokens.
type reviewer struct {
	client.Client
	users    map[string]string
	reviewed int
	err      error
}

func (r *reviewer) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	review, ok := object.(*authenticationv1.TokenReview)
	if !ok || r.err != nil {
		return errors.Join(r.err, errors.New("no review"))
	}
	r.reviewed++
	if user, ok := r.users[review.Spec.Token]; ok {
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{verdict.Audience}, User: authenticationv1.UserInfo{Username: user}}
	}
	return nil
}

func TestAGuardLetsOneAccountAskAndNobodyElse(t *testing.T) {
	const operator = "system:serviceaccount:trellis-system:trellis-operator"
	api, clock := &reviewer{users: map[string]string{"good": operator, "other": "system:serviceaccount:shop:cart"}}, testclock.NewFakeClock(time.Unix(0, 0))
	guard := NewGuard(GuardConfig{Client: api, User: operator, Clock: clock, Log: slog.New(slog.DiscardHandler)})
	answered := guard.Before(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	ask := func(authorization string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", authorization)
		answered.ServeHTTP(w, r)
		return w.Code
	}
	for _, c := range []struct {
		authorization string
		want          int
	}{
		{"", http.StatusUnauthorized}, {"Bearer ", http.StatusUnauthorized}, {"Bearer bad", http.StatusUnauthorized},
		{"Bearer other", http.StatusForbidden}, {"Bearer good", http.StatusTeapot},
	} {
		if got := ask(c.authorization); got != c.want {
			t.Errorf("%q is answered with %d, want %d", c.authorization, got, c.want)
		}
	}
	before := api.reviewed
	if ask("Bearer good"); api.reviewed != before {
		t.Error("a token that was good a moment ago is reviewed again")
	}
	api.err = errors.New("away")
	clock.Step(2 * believed)
	if got := ask("Bearer good"); got != http.StatusServiceUnavailable {
		t.Errorf("without an API server it is answered with %d", got)
	}
}
