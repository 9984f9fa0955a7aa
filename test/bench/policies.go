// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/webhook"
	"github.com/trellis-mesh/trellis/test/fleet"
)

const (
	policyBindings = 50
	admissions     = 400
)

// policyFigures compile a platform with policies about all of it, and admit changes of its
// Applications. The peer is the same without policies: nothing else judges what a mesh is
// made from, and the ratio is what policies cost.
func policyFigures(ctx context.Context) ([]figure, error) {
	const peer = "the same without policies"
	name := fmt.Sprintf("1000 Applications × %d bindings", policyBindings)
	options := fleet.Options{Applications: 1000, Routes: 5, Ingresses: 10}
	bare, err := policyCosts(ctx, options)
	if err != nil {
		return nil, err
	}
	options.Policies = policyBindings
	bound, err := policyCosts(ctx, options)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Name: "compile " + name, Ours: milliseconds(bound.compile), Peer: milliseconds(bare.compile), PeerName: peer, Bar: 1000, Unit: "ms"},
		{Name: "compile " + name + ", allocated", Ours: bound.megabytes, Peer: bare.megabytes, PeerName: peer, Bar: 300, Unit: "MB"},
		{Name: "admit one of " + name + ", p50", Ours: milliseconds(bound.p50), Peer: milliseconds(bare.p50), PeerName: peer, Unit: "ms"},
		{
			Name: fmt.Sprintf("admit one of %s, p99 of %d", name, admissions),
			Ours: milliseconds(bound.p99), Peer: milliseconds(bare.p99), PeerName: peer, Bar: 100, Unit: "ms",
		},
	}, nil
}

type policyCost struct {
	compile   time.Duration
	megabytes float64
	p50, p99  time.Duration
}

func policyCosts(ctx context.Context, options fleet.Options) (policyCost, error) {
	objects, err := fleet.Objects(options)
	if err != nil {
		return policyCost{}, err
	}
	took, allocated, _, err := compileTimes(model.NewSnapshot(fleet.Input(objects)))
	if err != nil {
		return policyCost{}, err
	}
	times, err := admit(ctx, objects, options)
	if err != nil {
		return policyCost{}, err
	}
	return policyCost{
		compile: took, megabytes: float64(allocated) / 1e6,
		p50: times[len(times)/2], p99: times[len(times)*99/100],
	}, nil
}

// admit asks the operator's webhook to admit changes, one after the other, and returns how
// long each took, in order. As in the operator, all objects are gathered for each.
func admit(ctx context.Context, objects []client.Object, options fleet.Options) ([]time.Duration, error) {
	handler := webhook.New(func() (model.Input, error) { return fleet.Input(objects), nil })
	times := make([]time.Duration, 0, admissions)
	for i := range admissions {
		request, err := change(options, i*options.Applications/admissions)
		if err != nil {
			return nil, err
		}
		started := time.Now()
		response := handler.Handle(ctx, request)
		times = append(times, time.Since(started))
		if !response.Allowed {
			return nil, fmt.Errorf("admitting a change of %s, it was refused: %s", request.Name, response.Result.Message)
		}
	}
	slices.Sort(times)
	return times, nil
}

// change gives one route of an Application another method.
func change(options fleet.Options, i int) (admission.Request, error) {
	old, changed := fleet.Application(options, i), fleet.Application(options, i)
	changed.Spec.Routes[1].Methods = append(changed.Spec.Routes[1].Methods, "PUT")
	before, err := json.Marshal(old)
	if err != nil {
		return admission.Request{}, err
	}
	after, err := json.Marshal(changed)
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: admissionv1.Update, Namespace: old.Namespace, Name: old.Name,
		Kind:      metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: "Application"},
		Object:    runtime.RawExtension{Raw: after},
		OldObject: runtime.RawExtension{Raw: before},
	}}, err
}
