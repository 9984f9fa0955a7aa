// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh opens a mesh for questions: from files, where Istio's own
// generator in this process says what each proxy would be sent.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
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
	// Objects are those that policies are read from where the World is not made from objects;
	// nil: they are not known.
	Objects []client.Object
	// Rights tells what whoever asks may change; nil: nobody knows.
	Rights Rights

	release func() error
	// generated is there where Istio's generator in this process made the World, and input
	// is what from.
	generated *world.World
	input     world.Input
	// settled: there is no input any more.
	settled bool
	// together is what it shares with another; nil: nothing.
	together *Together
}

// Diff finds all requests to which the change from one mesh to another makes a
// difference.
func Diff(ctx context.Context, before, after *Mesh) *outgoing.Changes {
	if before.generated == nil || after.generated == nil {
		out := &outgoing.Changes{Changes: *ask.Diff(before.World, after.World, nil)}
		out.Notes = append(out.Notes, "what the proxies of callers let out is not compared: they are not those of Istio's generator in this program")
		return out
	}
	return world.Diff(ctx, world.Compared{World: before.generated, Findings: before.Report.Findings}, world.Compared{World: after.generated, Findings: after.Report.Findings})
}

// Compare decides every class of requests in one mesh and another (ask.Compare).
func Compare(before, after *Mesh, each func(*ask.Compared)) (unchanged []xds.Node, notes []string) {
	return ask.Compare(before.World, after.World, alike(before, after), each)
}

// alike tells of which proxies it is known that they do the same; nil: of none.
func alike(before, after *Mesh) func(xds.Node) bool {
	if before.generated == nil || after.generated == nil {
		return nil
	}
	return world.Alike(before.generated, after.generated)
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

// Missing says what an answer about the mesh is without: what Refused says, and documents
// that could not be read.
func (m *Mesh) Missing() []string {
	out := m.Refused()
	for _, f := range m.unread() {
		out = append(out, fmt.Sprintf("%s:%d is left out: %s", f.Position.File, f.Position.Line, f.Message))
	}
	return out
}

// Verdict is the verdict of a command that found this: where a document could not be read,
// nobody knows what it says, and that nothing is wrong cannot be told (exit.ErrUnknown).
func (m *Mesh) Verdict(found error) error {
	if found == nil && len(m.unread()) > 0 {
		return exit.ErrUnknown
	}
	return found
}

// unread are the documents that could not be read. What is wrong with a statement of
// Trellis's own kinds closes what it is about, and is known.
func (m *Mesh) unread() []model.Finding {
	var out []model.Finding
	for _, f := range m.Report.Findings {
		if f.Severity == model.SeverityError && (document.Unread(f.Reason) || f.Object.Group != v1alpha1.GroupVersion.Group) {
			out = append(out, f)
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

// Settle lets go of what two meshes were made from, once both are open: Diff does without,
// and With and Files are gone.
func Settle(before, after *Mesh) {
	for _, m := range []*Mesh{before, after} {
		m.Files, m.input, m.settled = nil, world.Input{}, true
		if m.together != nil {
			m.together.documents.Settle()
		}
	}
	// It is as much as what is left, and room for half of what a comparison needs.
	runtime.GC()
}

// common is what their generators share.
func (t *Together) common() *generator.Common {
	if t == nil {
		return nil
	}
	return &t.planes
}

// Open reads the files and runs Istio's generator on what they make. At is the moment
// at which policies are judged and tokens are looked at, where the options name none.
// The caller closes it.
func Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	return (*Together)(nil).Open(ctx, o, stdin, at)
}

// Open does what the function of this name does, for one of several meshes.
func (t *Together) Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	own := *o
	own.At = o.Moment(at)
	if t != nil {
		own.Known = &t.documents
	}
	files, err := own.ReadMesh(ctx, stdin)
	if err != nil {
		return nil, err
	}
	return t.OfFiles(ctx, files, own.At)
}

// OfFiles runs Istio's generator on what files made that were read. At is the moment at
// which tokens are looked at. The caller closes it.
func (t *Together) OfFiles(ctx context.Context, files *source.Mesh, at time.Time) (*Mesh, error) {
	in := world.Input{
		Objects: files.Objects, Mesh: files.Mesh, Applications: files.Applications, Position: position(files), At: at,
		Common: t.common(),
	}
	out := &Mesh{Files: files, Report: files.Report, About: files.Mesh, together: t}
	if err := out.generate(ctx, in); err != nil {
		return nil, err
	}
	return out, nil
}

// generate has Istio's generator make the World.
func (m *Mesh) generate(ctx context.Context, in world.Input) error {
	w, err := world.Open(ctx, in)
	if err != nil {
		return err
	}
	m.World, m.Problems, m.release, m.generated, m.input = w.World, w.Problems, w.Close, w, in
	return nil
}

// ErrNotGenerated is what With says of meshes that are known by what proxies were sent.
var ErrNotGenerated = errors.New("what a change would do can be told only where Istio's generator in this program makes the configuration: ask about files, or with --source generator")

// With opens the same mesh with some objects in place of those of their names, or
// beside them. The caller closes it.
func (m *Mesh) With(ctx context.Context, changed ...client.Object) (*Mesh, error) {
	if !m.Changeable() {
		return nil, ErrNotGenerated
	}
	in := m.input
	in.Objects = world.Replaced(in.Objects, changed...)
	out := &Mesh{Files: m.Files, Report: m.Report, About: m.About, From: m.From, Rights: m.Rights}
	if err := out.generate(ctx, in); err != nil {
		return nil, err
	}
	return out, nil
}

// Changeable reports whether With can be asked.
func (m *Mesh) Changeable() bool { return m.generated != nil && !m.settled }

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
	find := files.Position
	return func(object, field string) model.Position {
		ref, ok := subjects[object]
		if !ok {
			return model.Position{}
		}
		return find(ref, strings.TrimSpace(field))
	}
}
