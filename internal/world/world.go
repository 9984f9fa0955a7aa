// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package world makes a World to ask about out of objects: Istio's own generator
// in this process says what each proxy would be sent. It is the same for the files
// of a command and for the caches of a cluster.
package world

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// Input is what a World is made from. Nothing in it may be changed while the World
// is in use.
type Input struct {
	// Objects are all that Istio would find, the generated ones included.
	Objects []client.Object
	// MeshConfig as in generator.Input.
	MeshConfig string
	// Mesh is what is true of the mesh as a whole.
	Mesh model.Mesh
	// Applications are what people stated.
	Applications []*v1alpha1.Application
	// Position finds the line of a field of an object; nil where nothing was read
	// from files.
	Position func(object, field string) model.Position
	// At is the moment that tokens are looked at.
	At time.Time
	// Running says that the objects are those of a cluster, as they are: with its pods
	// and the addresses that it has given. If not, they are as people wrote them.
	Running bool
	// Endpoints are EndpointSlices that names lead to and that Istio does not find.
	Endpoints []runtime.Object
	// Common as in generator.Input.
	Common *generator.Common
}

// World is an ask.World with the control plane that it lives on.
type World struct {
	*ask.World
	// Problems are what Istio's generator could not be given.
	Problems []xds.Problem

	generator *generator.Generator
}

// Close lets the control plane go; nothing may be asked afterwards.
func (w *World) Close() error { return w.generator.Close() }

// Alike tells of which proxies the objects of two Worlds alone say that they take
// connections in the same way in both, for ask.Diff.
func Alike(before, after *World) func(xds.Node) bool {
	return generator.Alike(before.generator, after.generator)
}

// Open runs Istio's generator on the objects, as if nothing of what they describe
// ran yet unless they say so: pods are made from templates and Services lead to all
// pods that they select. The caller closes the World. ctx holds for questions, too.
func Open(ctx context.Context, in Input) (*World, error) {
	g, err := generator.New(ctx, generator.Input{
		Objects: in.Objects, MeshConfig: in.MeshConfig, Cluster: in.Mesh.Cluster, ClusterDomain: in.Mesh.ClusterDomain, FromFiles: !in.Running, Common: in.Common,
	})
	if err != nil {
		return nil, err
	}
	out, err := open(ctx, in, g)
	if err != nil {
		// The first error is the one that matters.
		_ = g.Close()
		return nil, err
	}
	return out, nil
}

func open(ctx context.Context, in Input, g *generator.Generator) (*World, error) {
	view, err := xds.NewMesh(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("listing the proxies: %w", err)
	}
	servers, err := xds.NewMesh(ctx, inbound{g, view})
	if err != nil {
		return nil, fmt.Errorf("listing the proxies: %w", err)
	}
	objects := Typed(in.Objects)
	if !in.Running {
		objects = append(g.Objects(), slices.DeleteFunc(objects, completed)...)
	}
	objects = append(objects, in.Endpoints...)
	out := Of(ctx, view, directory.New(objects, in.Mesh.ClusterDomain), ask.NewOrigins(objects, in.Position), in.Applications, in.At)
	out.Servers = bound{ctx, servers}
	return &World{Problems: g.Problems(), generator: g, World: out}, nil
}

// Of puts together what is asked about: proxies with their configurations, and what
// their names and rules mean. At is the moment that tokens are looked at. ctx holds
// for questions, too.
func Of(ctx context.Context, view *xds.Mesh, directory *directory.Directory, origins *ask.Origins, applications []*v1alpha1.Application, at time.Time) *ask.World {
	proxies := bound{ctx, view}
	return &ask.World{
		Evaluator: decide.New(proxies), Proxies: proxies, Nodes: view.Nodes(),
		Directory: directory, Origins: origins, Applications: applications, At: at,
	}
}

// completed reports whether the generator has an object in a form of its own.
func completed(object runtime.Object) bool {
	switch object.(type) {
	case *corev1.Pod, *corev1.Service, *discoveryv1.EndpointSlice:
		return true
	}
	return false
}

// Addresses finds the URLs at which an outcome has an Application published.
func Addresses(outcome *compile.Outcome, cluster string) func(*v1alpha1.Application) []string {
	return func(a *v1alpha1.Application) []string {
		found := outcome.Applications[model.Reference{Cluster: cluster, Group: v1alpha1.GroupName, Kind: "Application", Namespace: a.Namespace, Name: a.Name}]
		if found == nil {
			return nil
		}
		var out []string
		for _, address := range found.Addresses {
			out = append(out, address.URL)
		}
		return out
	}
}

// inbound gives servers' configurations without what they send themselves.
type inbound struct {
	*generator.Generator
	whole *xds.Mesh
}

// Config implements xds.Source.
func (i inbound) Config(ctx context.Context, node xds.Node) (*xds.Config, error) {
	if node.Type != xds.Sidecar {
		return i.whole.Config(ctx, node)
	}
	return i.Inbound(ctx, node)
}

// bound gives a mesh's configurations within one context.
type bound struct {
	ctx context.Context
	*xds.Mesh
}

// Config implements decide.Proxies.
func (b bound) Config(node xds.Node) (*xds.Config, error) { return b.Mesh.Config(b.ctx, node) }

// Typed are the objects that the directory and the origins read. The Kubernetes
// ones come from the generator, which has given them addresses.
func Typed(objects []client.Object) []runtime.Object {
	var out []runtime.Object
	for _, object := range objects {
		if typed := As(object, entries); typed != nil {
			out = append(out, typed)
		}
	}
	return out
}

var entries = map[string]func() runtime.Object{
	"ServiceEntry":  func() runtime.Object { return &networkingv1.ServiceEntry{} },
	"WorkloadEntry": func() runtime.Object { return &networkingv1.WorkloadEntry{} },
}

// As gives an object the Go type of its kind; nil for kinds that are not among these,
// and for what cannot be converted: the generator refuses that, and says so. What has a
// type keeps it.
func As(object client.Object, kinds map[string]func() runtime.Object) runtime.Object {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object
	}
	fresh := kinds[u.GetKind()]
	if fresh == nil {
		return nil
	}
	typed := fresh()
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed) != nil {
		return nil
	}
	return typed
}
