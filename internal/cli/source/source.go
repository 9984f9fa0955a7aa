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
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/manifest"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
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
	// At is the moment at which policies are judged and tokens are looked at; zero: now.
	At time.Time
	// Known is what this and other readings of the command have in common; nil: nothing.
	Known *document.Known
	// MayBeEmpty are files without one document.
	MayBeEmpty bool
}

// AddFlags registers the flags of Options.
func (o *Options) AddFlags(cmd *cobra.Command) {
	o.AddFileFlags(cmd)
	flags := cmd.Flags()
	d := model.DefaultMesh()
	flags.StringVar(&o.TrustDomain, "trust-domain", "", fmt.Sprintf("trust domain of the mesh (default: what the ConfigMap istio says, or %s)", d.TrustDomain))
	flags.StringVar(&o.ClusterDomain, "cluster-domain", "", fmt.Sprintf("DNS suffix of Services (default %s)", d.ClusterDomain))
	flags.StringVar(&o.RootNamespace, "root-namespace", "", fmt.Sprintf("namespace of mesh-wide Istio objects (default: what the ConfigMap istio says, or %s)", d.RootNamespace))
	flags.StringVar(&o.Cluster, "cluster", "", fmt.Sprintf("Istio's id of the cluster (default %s)", d.Cluster))
}

// AddFileFlags registers the flags for files and for the moment, for commands to which
// the mesh makes no difference.
func (o *Options) AddFileFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.Files, "filename", "f", nil, `file or directory with YAML or JSON documents, or "-" for standard input; may be repeated`)
	flags.Var(moment{&o.At}, "at", "the moment at which exceptions from policies and tokens are judged, such as 2027-01-31T12:00:00Z (default: now)")
}

// ErrNoFiles is returned when a command is given nothing to read.
var ErrNoFiles = errors.New("nothing to read: name files or directories with -f, or - for standard input")

// Compiled is what became of the files.
type Compiled = manifest.Compiled

// Mesh is what the files make of a mesh.
type Mesh = manifest.Mesh

// Complain writes what was left out of the files, and returns exit.ErrFindings where that
// is something.
func Complain(c *Compiled, w io.Writer, colour bool) error {
	if len(c.Unread) == 0 {
		return nil
	}
	if err := report.Findings(w, c.Unread, colour); err != nil {
		return fmt.Errorf("writing what could not be read: %w", err)
	}
	return exit.ErrFindings
}

// manifest is what is read by the options.
func (o *Options) manifest() *manifest.Options {
	return &manifest.Options{Files: o.Files, Override: o.Override, At: o.Moment(time.Now()), Known: o.Known, MayBeEmpty: o.MayBeEmpty}
}

// Compile does what manifest.Options.Compile does, where there is something to read.
func (o *Options) Compile(ctx context.Context, stdin io.Reader) (*Compiled, error) {
	if len(o.Files) == 0 {
		return nil, ErrNoFiles
	}
	return o.manifest().Compile(ctx, stdin)
}

// ReadMesh does what manifest.Options.ReadMesh does, where there is something to read.
func (o *Options) ReadMesh(ctx context.Context, stdin io.Reader) (*Mesh, error) {
	if len(o.Files) == 0 {
		return nil, ErrNoFiles
	}
	return o.manifest().ReadMesh(ctx, stdin)
}

// Over does what manifest.Options.Over does.
func (o *Options) Over(ctx context.Context, stdin io.Reader, cluster []client.Object) (*Mesh, error) {
	return o.manifest().Over(ctx, stdin, cluster)
}

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
