// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh opens a mesh for questions: from files, where Istio's own
// generator in this process says what each proxy would be sent.
package mesh

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/world"
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
	// Lacks are what else the answer had to do without.
	Lacks []string
	// From says where the configuration comes from; empty: from the files.
	From string
	// About is what is true of the mesh as a whole.
	About model.Mesh
	// Warm fetches what proxies were sent before a question that is about all of them;
	// nil: there is nothing to wait for.
	Warm func(context.Context)
	// Objects are those that policies are read from; nil: those of the files.
	Objects []runtime.Object
	// Rights tells what whoever asks may change; nil: nobody knows.
	Rights Rights

	release func() error
	// generated is there where Istio's generator in this process made the World.
	generated *world.World
}

// Diff finds all requests to which the change from one mesh to another makes a
// difference.
func Diff(before, after *Mesh) *ask.Changes {
	var alike func(xds.Node) bool
	if before.generated != nil && after.generated != nil {
		alike = world.Alike(before.generated, after.generated)
	}
	return ask.Diff(before.World, after.World, alike)
}

// Refused says which objects Istio would refuse, and what else could not be read, so
// that an answer about the mesh is one without them.
func (m *Mesh) Refused() []string {
	out := slices.Clone(m.Lacks)
	for _, p := range m.Problems {
		if p.Kind == xds.Refused {
			out = append(out, fmt.Sprintf("%s %s is left out: %s", p.Type, p.Resource, p.Detail))
		}
	}
	return out
}

// Close lets the generator go, or the way to istiod.
func (m *Mesh) Close() error { return m.release() }

// Together is what meshes share that are compared: what their files and their objects
// have in common is worked on once. Nil shares nothing, and the zero value is ready.
type Together struct {
	documents document.Known
	planes    generator.Common
}

// common is what their generators share.
func (t *Together) common() *generator.Common {
	if t == nil {
		return nil
	}
	return &t.planes
}

// Open reads the files and runs Istio's generator on what they make. At is the
// moment that tokens are looked at. The caller closes it.
func Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	return (*Together)(nil).Open(ctx, o, stdin, at)
}

// Open does what the function of this name does, for one of several meshes.
func (t *Together) Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	if t != nil {
		own := *o
		own.Known = &t.documents
		o = &own
	}
	files, err := o.ReadMesh(ctx, stdin)
	if err != nil {
		return nil, err
	}
	w, err := world.Open(ctx, world.Input{
		Objects: files.Objects, Mesh: files.Mesh, Applications: files.Applications, Position: position(files), At: at,
		Common: t.common(),
	})
	if err != nil {
		return nil, err
	}
	return &Mesh{World: w.World, Files: files, Report: files.Report, Problems: w.Problems, About: files.Mesh, release: w.Close, generated: w}, nil
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
