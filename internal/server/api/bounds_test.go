// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/server/viewer"
)

// bystander is an API server that everybody is known to, and that is asked in some time.
type bystander struct{ limited *bool }

func (b bystander) Whose(ctx context.Context, token string) (*viewer.Viewer, error) {
	_, *b.limited = ctx.Deadline()
	return &viewer.Viewer{Name: token}, nil
}

func (bystander) May(context.Context, *viewer.Viewer, viewer.Action) (bool, error) { return false, nil }

func TestAnAPIServerThatHangsHoldsNobodyForLongerThanAQuestionTakes(t *testing.T) {
	limited := false
	handler, err := New(Config{Gate: viewer.NewGate(bystander{&limited}, clock.RealClock{}), Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"openapi.json", nil)
	r.Header.Set("Authorization", "Bearer ann")
	recorder := httptest.NewRecorder()
	if handler.ServeHTTP(recorder, r); recorder.Code != http.StatusOK || !limited {
		t.Errorf("it is answered %d, and the API server has time: %t", recorder.Code, !limited)
	}
}

// late is a body that comes when it is let.
type late struct {
	entered chan<- struct{}
	let     <-chan struct{}
}

func (s late) Read([]byte) (int, error) {
	s.entered <- struct{}{}
	<-s.let
	return 0, context.Canceled
}

func TestOneWhoAsksALotTakesNobodyElsesPlace(t *testing.T) {
	a, err := New(Config{Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	entered, let, done := make(chan struct{}), make(chan struct{}), make(chan error)
	ask := func(who string, body late) error {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		c := &call{w: httptest.NewRecorder(), r: r, viewer: &viewer.Viewer{Name: who}}
		return a.answer(c, &endpoint{free: true, serve: func(context.Context, *call) (any, error) { return nil, c.body(&struct{}{}) }})
	}
	for range maxAskedOwn {
		go func() { done <- ask("ann", late{entered, let}) }()
		<-entered
	}
	if err := ask("ann", late{}); err == nil || !strings.Contains(err.Error(), "questions of yours") {
		t.Errorf("one question more is answered %v", err)
	}
	go func() { done <- ask("bob", late{entered, let}) }()
	<-entered
	close(let)
	for range maxAskedOwn + 1 {
		if err := <-done; err == nil {
			t.Error("a body that does not come is an answer")
		}
	}
	if a.asked.taken != 0 || len(a.asked.by) != 0 {
		t.Errorf("%d places are taken for ever", a.asked.taken)
	}
}

func TestSumsThatNobodyTakesAgainAreLetGo(t *testing.T) {
	var n numbers
	at := time.Unix(1e9, 0)
	for i := range maxSums {
		n.keep(time.Duration(i), counted{to: at})
	}
	if len(n.kept) != maxSums {
		t.Errorf("%d are kept", len(n.kept))
	}
	if n.keep(time.Hour, counted{to: at.Add(fresh)}); len(n.kept) != 1 {
		t.Errorf("%d are kept when they are old", len(n.kept))
	}
}
