// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package admit decides at admission about changes of Applications that state tests:
// it runs them as if the change were made, and refuses one that breaks them. Tests
// of other Applications refuse nothing, whoever makes the change: they are warned
// of, since a test is a statement about one's own Application and no veto on
// somebody else's.
//
// It is a guard rail and not the guard: where it does not answer, the change gets
// through, and the operator does not put it in force before its tests have passed.
package admit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

const (
	// concurrency is how many changes are tried at once: each is a control plane of
	// its own in memory.
	concurrency = 2
	// Limit is within what an answer comes. API servers wait a second longer.
	Limit = 4 * time.Second
)

// The paths that the chart registers.
const (
	PathApplication   = "/test-trellis-dev-v1alpha1-application"
	PathSecureIngress = "/test-trellis-dev-v1alpha1-secureingress"
)

// Config is what a Handler works with. All of it is required.
type Config struct {
	// State is the cluster now, or why it is not known.
	State func() (*observe.State, error)
	// Settled is what came of the tests that were run last; nil: none were.
	Settled func() *examine.Settled
	Clock   clock.PassiveClock
	Log     *slog.Logger
}

// Handler answers admission reviews. It is safe for concurrent use.
type Handler struct {
	config Config
	slots  chan struct{}
}

var _ admission.Handler = (*Handler)(nil)

// New makes a Handler.
func New(config Config) *Handler {
	return &Handler{config: config, slots: make(chan struct{}, concurrency)}
}

// change is what is asked about.
type change struct {
	application, old *v1alpha1.Application
	ingress          *v1alpha1.SecureIngress
}

// Handle implements admission.Handler. What it cannot tell in time it answers with
// an error that is no verdict.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	c, err := decode(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if c == nil {
		return admission.Allowed("")
	}
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return unknown("trellis-server has more changes to try than it can in time")
	}
	// The work goes on to its end where the answer does not wait for it, and holds
	// its place meanwhile: Istio's generator cannot be interrupted.
	answer := make(chan admission.Response, 1)
	go func() {
		defer func() { <-h.slots }()
		defer func() {
			if p := recover(); p != nil {
				h.config.Log.Error("trying a change", "panic", p)
				answer <- unknown("trellis-server failed on it")
			}
		}()
		answer <- h.decide(ctx, c)
	}()
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		return unknown(fmt.Sprintf("trying the change takes longer than %s", Limit))
	}
}

func (h *Handler) decide(ctx context.Context, c *change) admission.Response {
	state, err := h.config.State()
	if err != nil {
		return unknown("trellis-server has not read the cluster yet: " + err.Error())
	}
	if c.ingress != nil {
		return h.ingress(ctx, state, c.ingress)
	}
	after, err := h.try(ctx, state, c.application)
	if err != nil {
		h.config.Log.Warn("a change could not be tried", "application", c.application.Namespace+"/"+c.application.Name, "error", err)
		return unknown("the tests could not be run: " + firstLine(err))
	}
	if after.own.State == verdict.Passed {
		return warned(admission.Allowed(""), h.others(after))
	}
	if len(after.missing) > 0 {
		// What is missing may come next: documents can be applied in any order.
		return warned(admission.Allowed(""), append(waiting(after), h.others(after)...))
	}
	had := map[string]bool{}
	if c.old != nil {
		before, err := h.try(ctx, state, c.old)
		if err != nil {
			return unknown("the tests could not be run as things were: " + firstLine(err))
		}
		had = broken(before.own, c.old)
	}
	return judge(c.application, after, had, h.others(after))
}

// tried is what came of one statement.
type tried struct {
	own    *verdict.Application
	others []verdict.Application
	// missing are findings about the Application that something which is applied
	// later can cure.
	missing []model.Finding
}

// try runs the tests as if the statement were in force, beside what is in force of
// the others: its own, and those of Applications that meet it.
func (h *Handler) try(ctx context.Context, state *observe.State, a *v1alpha1.Application) (*tried, error) {
	choice := replaced(h.choice(state), a)
	results, findings, err := examine.Run(ctx, state, choice, h.config.Clock.Now(), func(o *v1alpha1.Application) bool {
		return o == a || meets(o, a, state.Input.SecureIngresses)
	})
	if err != nil {
		return nil, err
	}
	out := &tried{}
	for i := range results {
		if r := &results[i]; r.Namespace == a.Namespace && r.Name == a.Name {
			out.own = r
		} else {
			out.others = append(out.others, *r)
		}
	}
	if out.own == nil {
		return nil, errors.New("running tests: none were found")
	}
	for _, f := range findings {
		if f.Severity == model.SeverityError && f.Object.Kind == "Application" && f.Object.Namespace == a.Namespace && f.Object.Name == a.Name {
			out.missing = append(out.missing, f)
		}
	}
	return out, nil
}

// choice is what is in force of all Applications, as far as it is known.
func (h *Handler) choice(state *observe.State) examine.Choice {
	settled := h.config.Settled()
	if settled == nil {
		return state.Input.Applications
	}
	// Applications that came since are taken as they are stated.
	known := map[model.Name]*v1alpha1.Application{}
	for _, a := range settled.Choice {
		known[model.Name{Namespace: a.Namespace, Name: a.Name}] = a
	}
	out := slices.Clone(state.Input.Applications)
	for i, a := range out {
		if k := known[model.Name{Namespace: a.Namespace, Name: a.Name}]; k != nil && k.UID == a.UID && k.Generation < a.Generation {
			out[i] = k
		}
	}
	return out
}

func replaced(all examine.Choice, a *v1alpha1.Application) examine.Choice {
	out := slices.DeleteFunc(slices.Clone(all), func(o *v1alpha1.Application) bool { return o.Namespace == a.Namespace && o.Name == a.Name })
	return append(out, a)
}

// decode reads what is asked about; nil: there is nothing to try.
func decode(request admission.Request) (*change, error) {
	switch {
	case request.Operation != admissionv1.Create && request.Operation != admissionv1.Update:
		return nil, nil
	case request.Kind.Kind == "SecureIngress":
		return decodeIngress(request)
	}
	c := &change{application: &v1alpha1.Application{}}
	if err := read(request.Object.Raw, c.application); err != nil {
		return nil, err
	}
	if c.application.Namespace == "" {
		c.application.Namespace = request.Namespace
	}
	if len(c.application.Spec.Tests) == 0 || c.application.DeletionTimestamp != nil {
		return nil, nil
	}
	if request.Operation == admissionv1.Create {
		return c, nil
	}
	c.old = &v1alpha1.Application{}
	if err := read(request.OldObject.Raw, c.old); err != nil {
		return nil, err
	}
	if apiequality.Semantic.DeepEqual(c.old.Spec, c.application.Spec) {
		return nil, nil
	}
	return c, nil
}

func decodeIngress(request admission.Request) (*change, error) {
	i, old := &v1alpha1.SecureIngress{}, &v1alpha1.SecureIngress{}
	if err := read(request.Object.Raw, i); err != nil {
		return nil, err
	}
	if request.Operation == admissionv1.Update {
		if err := read(request.OldObject.Raw, old); err != nil {
			return nil, err
		}
	}
	if i.DeletionTimestamp != nil || apiequality.Semantic.DeepEqual(i.Spec, old.Spec) {
		return nil, nil
	}
	return &change{ingress: i}, nil
}

func read(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading the object: %w", err)
	}
	return nil
}
