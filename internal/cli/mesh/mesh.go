// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh opens a mesh for questions: from files, where Istio's own
// generator in this process says what each proxy would be sent.
package mesh

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// Mesh is a World with what it is made from.
type Mesh struct {
	*ask.World
	// Files are what the files became, with what is wrong with them.
	Files *source.Mesh
	// Report is what is wrong with the files.
	Report *report.Report
	// Problems are what Istio's generator could not be given.
	Problems []xds.Problem

	generator *generator.Generator
}

// Refused says which objects Istio would refuse, so that an answer about the mesh is
// one without them.
func (m *Mesh) Refused() []string {
	var out []string
	for _, p := range m.Problems {
		if p.Kind == xds.Refused {
			out = append(out, fmt.Sprintf("%s %s is left out: %s", p.Type, p.Resource, p.Detail))
		}
	}
	return out
}

// Close lets the generator go.
func (m *Mesh) Close() error { return m.generator.Close() }

// Open reads the files and runs Istio's generator on what they make. At is the
// moment that tokens are looked at. The caller closes it.
func Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	files, err := o.ReadMesh(ctx, stdin)
	if err != nil {
		return nil, err
	}
	g, err := generator.New(ctx, generator.Input{Objects: files.Objects, Cluster: files.Mesh.Cluster, FromFiles: true})
	if err != nil {
		return nil, err
	}
	out := &Mesh{Files: files, Report: files.Report, Problems: g.Problems(), generator: g}
	view, err := xds.NewMesh(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("listing the proxies: %w", err)
	}
	proxies := bound{ctx, view}
	servers, err := xds.NewMesh(ctx, inbound{g, view})
	if err != nil {
		return nil, fmt.Errorf("listing the proxies: %w", err)
	}
	objects := append(g.Objects(), typed(files.Objects)...)
	out.World = &ask.World{
		Evaluator: decide.New(proxies), Proxies: proxies, Servers: bound{ctx, servers}, Nodes: view.Nodes(),
		Directory: ask.NewDirectory(objects, files.Mesh.ClusterDomain),
		Origins:   ask.NewOrigins(objects, position(files)), Applications: files.Applications, At: at,
	}
	return out, nil
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

// typed are the objects that the directory and the origins read. The Kubernetes
// ones come from the generator, which has given them addresses.
func typed(objects []client.Object) []runtime.Object {
	var out []runtime.Object
	for _, object := range objects {
		u, ok := object.(*unstructured.Unstructured)
		if !ok {
			out = append(out, object)
			continue
		}
		if u.GetKind() != "ServiceEntry" {
			continue
		}
		entry := &networkingv1.ServiceEntry{}
		// What cannot be converted is refused by the generator, which says so.
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, entry) == nil {
			out = append(out, entry)
		}
	}
	return out
}

// position finds an object by the text that provenance names it by.
func position(files *source.Mesh) func(object, field string) model.Position {
	subjects := map[string]model.Reference{}
	for _, object := range files.Objects {
		kind := object.GetObjectKind().GroupVersionKind()
		ref := model.Reference{Cluster: files.Mesh.Cluster, Group: kind.Group, Kind: kind.Kind, Namespace: object.GetNamespace(), Name: object.GetName()}
		if files.Position(ref, "").File != "" {
			subjects[ref.String()] = ref
		}
	}
	// Trellis's kinds last: theirs are the names.
	for _, s := range files.Report.Subjects {
		subjects[s.Ref.String()] = s.Ref
	}
	return func(object, field string) model.Position {
		ref, ok := subjects[object]
		if !ok {
			return model.Position{}
		}
		return files.Position(ref, strings.TrimSpace(field))
	}
}
