// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mutualtlsrollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/traffic"
)

// decide gathers the facts and decides. Before a PeerAuthentication is made, its name
// is looked up: one of somebody else is never written.
func (r *Reconciler) decide(ctx context.Context, rollout *v1alpha1.MutualTLSRollout) (Decision, error) {
	facts, err := r.gather(ctx, rollout)
	if err != nil {
		return Decision{}, err
	}
	for {
		decision := Next(facts)
		if decision.Make == nil || decision.Make.There != nil {
			return decision, nil
		}
		object := ref(decision.Make.Body.GetNamespace(), decision.Make.Body.GetName())
		if err := r.lookUp(ctx, &facts, object); err != nil {
			return Decision{}, err
		}
		if facts.Foreign[object] == "" {
			return decision, nil
		}
	}
}

// gather finds out what is the case.
func (r *Reconciler) gather(ctx context.Context, rollout *v1alpha1.MutualTLSRollout) (Facts, error) {
	f := Facts{Rollout: rollout, Foreign: map[string]string{}, Refused: r.refused()}
	f.Forecast, f.Unforeseen = r.foresee(rollout)
	if err := r.objects(ctx, &f); err != nil {
		return f, err
	}
	for _, name := range TakenNames(f.Forecast, &rollout.Status) {
		if err := r.lookUp(ctx, &f, name); err != nil {
			return f, err
		}
	}
	r.see(ctx, &f)
	return f, nil
}

// objects lists what the rollout made.
func (r *Reconciler) objects(ctx context.Context, f *Facts) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(peerAuthentications.GroupVersion().WithKind(peerAuthentications.Kind + "List"))
	err := r.client.List(ctx, list, client.MatchingLabels{ManagedByLabel: FieldManager, v1alpha1.RolloutLabel: f.Rollout.Name})
	if meta.IsNoMatchError(err) {
		f.Unreadable = "the cluster has no PeerAuthentications: Istio is not installed"
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing PeerAuthentications: %w", err)
	}
	f.Objects = make(map[string]Object, len(list.Items))
	for i := range list.Items {
		u := &list.Items[i]
		spec, _, _ := unstructured.NestedMap(u.Object, "spec")
		f.Objects[ref(u.GetNamespace(), u.GetName())] = Object{
			Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
			Created: u.GetCreationTimestamp().Time, Spec: spec,
		}
	}
	return nil
}

// lookUp finds out whose the PeerAuthentication of a name is.
func (r *Reconciler) lookUp(ctx context.Context, f *Facts, object string) error {
	u := bodyOf(f.Rollout.Name, object, nil)
	key := types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}
	err := r.client.Get(ctx, key, u)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading PeerAuthentication %s: %w", object, err)
	case Ours(u.GetLabels(), f.Rollout.Name):
		return nil
	}
	whose := "somebody else"
	if other := u.GetLabels()[v1alpha1.RolloutLabel]; other != "" {
		whose = "MutualTLSRollout " + other
	}
	f.Foreign[object] = whose
	return nil
}

// refused are what could not be written a moment ago.
func (r *Reconciler) refused() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for object, refusal := range r.refusals {
		if r.clock.Since(refusal.at) >= rewrite {
			delete(r.refusals, object)
			continue
		}
		out[object] = refusal.why
	}
	return out
}

// see asks what was seen of traffic, and takes the time.
func (r *Reconciler) see(ctx context.Context, f *Facts) {
	r.mu.Lock()
	last := r.windows[f.Rollout.Name]
	r.mu.Unlock()
	f.Now = r.clock.Now()
	window, since := Questions(f.Rollout, f.Now, last)
	from, err := r.source(f.Rollout.Spec.Observation.Source)
	if err != nil {
		f.Unseen = err.Error()
		return
	}
	ask := func(since time.Time) *traffic.Seen {
		if since.IsZero() || f.Unseen != "" {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		seen, err := from.Seen(ctx, since)
		if err != nil {
			f.Unseen = err.Error()
			return nil
		}
		return &seen
	}
	// What is watched comes first.
	f.Since, f.Window = ask(since), ask(window)
	// The answers are of a moment after the questions.
	f.Now = r.clock.Now()
	if f.Window != nil {
		r.mu.Lock()
		r.windows[f.Rollout.Name] = f.Now
		r.mu.Unlock()
	}
}

// source is where traffic is seen.
func (r *Reconciler) source(s v1alpha1.ObservationSource) (Traffic, error) {
	switch {
	case s.Prometheus != nil && r.options.Prometheus != nil:
		return r.options.Prometheus(*s.Prometheus), nil
	case s.Prometheus != nil:
		return nil, errors.New("this operator cannot ask Prometheus")
	case r.options.AccessLogs == nil:
		return nil, errors.New("access logs are collected by trellis-server, and there is none (the chart's value server.enabled)")
	}
	return r.options.AccessLogs, nil
}
