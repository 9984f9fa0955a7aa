// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package manifest is what documents become: what the compiler makes of them, by
// themselves or as a draft over what a cluster has. The command line and the server read
// documents by it.
package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	kind "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/schema"
	"github.com/trellis-mesh/trellis/internal/version"
)

// Options name what is read.
type Options struct {
	// Files are files and directories, and document.Stdin.
	Files []string
	// Override changes what documents say of the mesh; nil: nothing does.
	Override func(model.Mesh) model.Mesh
	// At is the moment at which policies are judged.
	At time.Time
	// Known is what this and other readings have in common; nil: nothing.
	Known *document.Known
	// MayBeEmpty are files without one document; otherwise they are ErrEmpty.
	MayBeEmpty bool
}

// ErrEmpty is returned where files have no document: most likely they are not those that
// were meant, and nothing is wrong with nothing.
var ErrEmpty = errors.New("no document to read")

// read reads the files.
func (o *Options) read(stdin io.Reader, scope func(kind.GroupVersionKind) document.Scope) (*document.Set, error) {
	set, err := document.Read(o.Files, stdin, document.Options{Cluster: o.mesh().Cluster, Scope: scope, Known: o.Known})
	if err != nil {
		return nil, err
	}
	if !o.MayBeEmpty && len(set.Objects)+len(set.Findings)+len(set.Skipped) == 0 {
		return nil, fmt.Errorf("%w in %s: name files, directories with files whose names end in %s, or - for standard input", ErrEmpty, strings.Join(o.Files, ", "), strings.Join(document.Extensions(), ", "))
	}
	return set, nil
}

func (o *Options) override(mesh model.Mesh) model.Mesh {
	if o.Override == nil {
		return mesh
	}
	return o.Override(mesh)
}

// mesh is Istio's default, with what is known better.
func (o *Options) mesh() model.Mesh { return o.override(model.DefaultMesh()) }

// Compiled is what became of the files.
type Compiled struct {
	// Snapshot is what was compiled.
	Snapshot *model.Snapshot
	Outcome  *compile.Outcome
	// Applications are those that the compiler saw.
	Applications []*v1alpha1.Application
	// MutualTLSRollouts are those of the files.
	MutualTLSRollouts []*v1alpha1.MutualTLSRollout
	// Report has all findings, those of the outcome included, in order.
	Report *report.Report
	// Unread are the errors for which something of the files was left out. What is said of
	// the rest says nothing of it.
	Unread []model.Finding
}

// Compile reads the files and compiles them. Errors are about files that cannot
// be opened; everything about their content is in the report.
func (o *Options) Compile(ctx context.Context, stdin io.Reader) (*Compiled, error) {
	checker, err := schema.Embedded()
	if err != nil {
		return nil, err
	}
	set, err := o.read(stdin, checker.Scope)
	if err != nil {
		return nil, err
	}
	compiled, _, err := o.compile(ctx, checker, set, draft{})
	return compiled, err
}

// compile does what Compile does once the files are read.
func (o *Options) compile(ctx context.Context, checker *schema.Checker, set *document.Set, over draft) (*Compiled, model.Mesh, error) {
	objects, refused := checker.Read(ctx, set)
	builder := load.NewBuilder(o.mesh())
	for _, object := range objects {
		over.goOn(object.Value)
		builder.Add(object.Value)
	}
	for _, object := range over.beneath {
		builder.Add(object)
	}
	in := builder.Input()
	if len(over.beneath) > 0 {
		assume(&in)
	}
	in.Mesh = o.override(in.Mesh)
	in.Positions, in.At = set.Position, o.At
	snapshot := model.NewSnapshot(in)
	outcome := compile.Compile(snapshot)
	if outcome.Err != nil {
		return nil, in.Mesh, fmt.Errorf("compiling: %w", outcome.Err)
	}
	findings := slices.Concat(set.Findings, refused, becauseOf(refusedObjects(set, objects), outcome.Findings))
	unread := slices.DeleteFunc(slices.Concat(set.Findings, refused), func(f model.Finding) bool { return f.Severity != model.SeverityError })
	return &Compiled{
		Unread: model.SortFindings(unread), Snapshot: snapshot, Outcome: outcome, Applications: in.Applications, MutualTLSRollouts: builder.MutualTLSRollouts(), Report: summarise(set, model.SortFindings(findings)),
	}, in.Mesh, nil
}

// Posture sums up how it stands with goals and policies.
func (c *Compiled) Posture() *posture.Posture { return posture.Of(c.Snapshot, c.Outcome) }

// refusedObjects are those that were read and that the compiler never saw.
func refusedObjects(set *document.Set, taken []schema.Object) []model.Reference {
	seen := make(map[model.Reference]bool, len(taken))
	for i := range taken {
		seen[taken[i].Ref] = true
	}
	var out []model.Reference
	for i := range set.Objects {
		if ref := set.Objects[i].Ref; !seen[ref] {
			out = append(out, ref)
		}
	}
	return out
}

// becauseOf rewords findings about objects that are missing because they were
// refused: to whoever wrote them they do exist.
func becauseOf(refused []model.Reference, findings []model.Finding) []model.Finding {
	out := slices.Clone(findings)
	for i := range out {
		f := &out[i]
		if !strings.HasSuffix(f.Reason, "NotFound") {
			continue
		}
		for _, ref := range refused {
			if !strings.Contains(f.Message, ref.String()+" does not exist") {
				continue
			}
			f.Message = fmt.Sprintf("%s has problems of its own and is refused, so what needs it is closed", ref)
			f.Owner = ref.String()
			f.Fix = fmt.Sprintf("solve the problems of %s first", ref)
		}
	}
	return out
}

// summarise names what was judged: Trellis's own kinds. The others are what
// they are judged by.
func summarise(set *document.Set, findings []model.Finding) *report.Report {
	r := &report.Report{Findings: findings, Files: set.Files, Version: version.String()}
	for i := range set.Objects {
		if o := &set.Objects[i]; o.Kind.Group == v1alpha1.GroupName {
			r.Subjects = append(r.Subjects, report.Subject{Ref: o.Ref, Position: o.Position})
		}
	}
	for _, n := range set.Skipped {
		r.Skipped += n
	}
	return r
}
