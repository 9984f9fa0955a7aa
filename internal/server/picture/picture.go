// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package picture is a cluster at one moment with what follows from it: what is in force,
// and what the compiler makes of that. Answers are read from one picture, so that they
// agree with each other. It knows nothing of what proxies are sent.
package picture

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
	"github.com/trellis-mesh/trellis/internal/server/observe"
)

// Picture is a cluster at one moment. Read only.
type Picture struct {
	// Revision is another one after each change that an answer may show.
	Revision string
	State    *observe.State
	// InForce are the Applications with the statements that are in force; those of State
	// are as they are stated now.
	InForce  []*v1alpha1.Application
	Snapshot *model.Snapshot
	Outcome  *compile.Outcome
}

// Of is the picture of a state.
func Of(state *observe.State, inForce []*v1alpha1.Application) (*Picture, error) {
	revision, err := Revision(state)
	if err != nil {
		return nil, err
	}
	in := state.Input
	in.Applications = inForce
	out := &Picture{Revision: revision, State: state, InForce: inForce, Snapshot: model.NewSnapshot(in)}
	out.Outcome = compile.Compile(out.Snapshot)
	if out.Outcome.Err != nil {
		return nil, fmt.Errorf("compiling: %w", out.Outcome.Err)
	}
	return out, nil
}

// Revision is what a picture of the state has: what tests go by, and the versions of
// what people state and of its status.
func Revision(state *observe.State) (string, error) {
	versions := []string{state.Digest}
	add := func(kind string, o client.Object) {
		versions = append(versions, kind+" "+o.GetNamespace()+"/"+o.GetName()+" "+string(o.GetUID())+" "+o.GetResourceVersion())
	}
	in := &state.Input
	each(in.Applications, func(o *v1alpha1.Application) { add("Application", o) })
	each(in.SecureIngresses, func(o *v1alpha1.SecureIngress) { add("SecureIngress", o) })
	each(in.ManagedCertificates, func(o *v1alpha1.ManagedCertificate) { add("ManagedCertificate", o) })
	each(in.Policies.Goals, func(o *v1alpha1.Goal) { add("Goal", o) })
	each(in.Policies.ClusterBindings, func(o *v1alpha1.ClusterPolicyBinding) { add("ClusterPolicyBinding", o) })
	each(in.Policies.Bindings, func(o *v1alpha1.PolicyBinding) { add("PolicyBinding", o) })
	each(in.Policies.Exceptions, func(o *v1alpha1.PolicyException) { add("PolicyException", o) })
	slices.Sort(versions)
	raw, err := json.Marshal(versions)
	if err != nil {
		return "", fmt.Errorf("comparing what was read: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:12]), nil
}

func each[T any](all []T, do func(T)) {
	for _, one := range all {
		do(one)
	}
}

// Posture sums up how it stands with goals and policies.
func (p *Picture) Posture() *posture.Posture { return posture.Of(p.Snapshot, p.Outcome) }

// Told is the picture with its assertions told, by a function that is given copies of
// them: pictures are read by several at a time, and stay as they are.
func (p *Picture) Told(tell func([]*policy.Assertion)) *Picture {
	out, outcome := *p, *p.Outcome
	outcome.Assertions = nil
	for _, a := range p.Outcome.Assertions {
		one := *a
		outcome.Assertions = append(outcome.Assertions, &one)
	}
	tell(outcome.Assertions)
	out.Outcome = &outcome
	return &out
}

// Bound are the bindings.
func (p *Picture) Bound() []*policy.Binding {
	if p.Outcome.Policies == nil {
		return nil
	}
	return p.Outcome.Policies.Bindings
}

// Application finds an Application as it is stated now, or returns nil.
func (p *Picture) Application(namespace, name string) *v1alpha1.Application {
	return find(p.State.Input.Applications, namespace, name)
}

// Effective finds the statement of an Application that is in force, or returns nil.
func (p *Picture) Effective(namespace, name string) *v1alpha1.Application {
	return find(p.InForce, namespace, name)
}

func find(all []*v1alpha1.Application, namespace, name string) *v1alpha1.Application {
	for _, a := range all {
		if a.Namespace == namespace && a.Name == name {
			return a
		}
	}
	return nil
}

// Addresses are where an Application is published.
func (p *Picture) Addresses(a *v1alpha1.Application) []v1alpha1.Address {
	found := p.Outcome.Applications[p.Snapshot.ApplicationReference(a.Namespace, a.Name)]
	if found == nil {
		return nil
	}
	return found.Addresses
}

// Published are the URLs of an Application, in order.
func (p *Picture) Published(a *v1alpha1.Application) []string {
	var out []string
	for _, address := range p.Addresses(a) {
		out = append(out, address.URL)
	}
	return out
}

// Namespaces are those that have Applications, and those that have SecureIngresses, each
// in order.
func (p *Picture) Namespaces() (applications, ingresses []string) {
	each(p.State.Input.Applications, func(o *v1alpha1.Application) { applications = append(applications, o.Namespace) })
	each(p.State.Input.SecureIngresses, func(o *v1alpha1.SecureIngress) { ingresses = append(ingresses, o.Namespace) })
	unique := func(all []string) []string {
		slices.SortFunc(all, strings.Compare)
		return slices.Compact(all)
	}
	return unique(applications), unique(ingresses)
}
