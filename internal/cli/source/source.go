// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package source turns the files that a command was given into a Snapshot: it
// reads, validates and translates, and collects every finding on the way. It is
// the same for all commands, so that none of them reads a file differently.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/schema"
	"github.com/trellis-mesh/trellis/internal/version"
)

// Options say what to read, and what is true of the mesh that the files do not
// tell.
type Options struct {
	Files []string
	// Cluster, TrustDomain, ClusterDomain and RootNamespace are of the mesh;
	// empty means Istio's default, or what the files' mesh configuration says.
	Cluster       string
	TrustDomain   string
	ClusterDomain string
	RootNamespace string
	// Known is what this and other readings of the command have in common; nil: nothing.
	Known *document.Known
}

// AddFlags registers the flags of Options.
func (o *Options) AddFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	d := model.DefaultMesh()
	flags.StringArrayVarP(&o.Files, "filename", "f", nil, `file or directory with YAML or JSON documents, or "-" for standard input; may be repeated`)
	flags.StringVar(&o.TrustDomain, "trust-domain", "", fmt.Sprintf("trust domain of the mesh (default: what the ConfigMap istio says, or %s)", d.TrustDomain))
	flags.StringVar(&o.ClusterDomain, "cluster-domain", "", fmt.Sprintf("DNS suffix of Services (default %s)", d.ClusterDomain))
	flags.StringVar(&o.RootNamespace, "root-namespace", "", fmt.Sprintf("namespace of mesh-wide Istio objects (default: what the ConfigMap istio says, or %s)", d.RootNamespace))
	flags.StringVar(&o.Cluster, "cluster", "", fmt.Sprintf("Istio's id of the cluster (default %s)", d.Cluster))
}

// ErrNoFiles is returned when a command is given nothing to read.
var ErrNoFiles = errors.New("nothing to read: name files or directories with -f, or - for standard input")

// Compiled is what became of the files.
type Compiled struct {
	Outcome *compile.Outcome
	// Applications are those that the compiler saw.
	Applications []*v1alpha1.Application
	// MutualTLSRollouts are those of the files.
	MutualTLSRollouts []*v1alpha1.MutualTLSRollout
	// Report has all findings, those of the outcome included, in order.
	Report *report.Report
}

// Compile reads the files and compiles them. Errors are about files that cannot
// be opened; everything about their content is in the report.
func (o *Options) Compile(ctx context.Context, stdin io.Reader) (*Compiled, error) {
	if len(o.Files) == 0 {
		return nil, ErrNoFiles
	}
	checker, err := schema.Embedded()
	if err != nil {
		return nil, err
	}
	mesh := o.mesh()
	set, err := document.Read(o.Files, stdin, document.Options{Cluster: mesh.Cluster, Scope: checker.Scope, Known: o.Known})
	if err != nil {
		return nil, err
	}
	compiled, _, err := o.compile(ctx, checker, set)
	return compiled, err
}

// compile does what Compile does once the files are read. Beneath are the objects of
// a cluster that the files are a draft for.
func (o *Options) compile(ctx context.Context, checker *schema.Checker, set *document.Set, beneath ...client.Object) (*Compiled, model.Mesh, error) {
	objects, refused := checker.Read(ctx, set)
	builder := load.NewBuilder(o.mesh())
	for _, object := range objects {
		builder.Add(object.Value)
	}
	for _, object := range beneath {
		builder.Add(object)
	}
	in := builder.Input()
	if len(beneath) > 0 {
		assume(&in)
	}
	in.Mesh = o.Override(in.Mesh)
	in.Positions = set.Position
	outcome := compile.Compile(model.NewSnapshot(in))
	if outcome.Err != nil {
		return nil, in.Mesh, fmt.Errorf("compiling: %w", outcome.Err)
	}
	findings := slices.Concat(set.Findings, refused, becauseOf(refusedObjects(set, objects), outcome.Findings))
	return &Compiled{
		Outcome: outcome, Applications: in.Applications, MutualTLSRollouts: builder.MutualTLSRollouts(), Report: summarise(set, model.SortFindings(findings)),
	}, in.Mesh, nil
}

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

// mesh is Istio's default, with what the flags say.
func (o *Options) mesh() model.Mesh { return o.Override(model.DefaultMesh()) }

// Override lets the flags win: whoever writes one knows better than a file.
func (o *Options) Override(mesh model.Mesh) model.Mesh {
	for _, one := range []struct {
		flag  string
		field *string
	}{
		{o.Cluster, &mesh.Cluster},
		{o.TrustDomain, &mesh.TrustDomain},
		{o.ClusterDomain, &mesh.ClusterDomain},
		{o.RootNamespace, &mesh.RootNamespace},
	} {
		if one.flag != "" {
			*one.field = one.flag
		}
	}
	return mesh
}
