// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/world"
)

// Rights tells which objects whoever asks may change: one answer for each of the
// objects, which are written as "Application shop/cart". Nil stands for an object of
// a kind that nobody knows.
type Rights func(ctx context.Context, objects []string) ([]*bool, error)

// Running is a mesh that is not made from files. From says where the configuration
// comes from; release is called at the end, and may be nil.
func Running(w *ask.World, about model.Mesh, from string, lacks []string, release func() error) *Mesh {
	if release == nil {
		release = func() error { return nil }
	}
	return &Mesh{World: w, Report: &report.Report{}, About: about, From: from, Lacks: lacks, release: release}
}

// Published are the URLs of an Application: those that follow from the files, or
// what its status says.
func (m *Mesh) Published(a *v1alpha1.Application) []string {
	if m.Files != nil {
		return world.Addresses(m.Files.Outcome, m.Files.Mesh.Cluster)(a)
	}
	var out []string
	for _, address := range a.Status.Addresses {
		out = append(out, address.URL)
	}
	return out
}

// Prepare fetches what proxies were sent, for a question that is about all of them.
func (m *Mesh) Prepare(ctx context.Context) {
	if m.Warm != nil {
		m.Warm(ctx)
	}
}

// Typed are the objects of files that say which statements are behind them.
func Typed(files *source.Mesh) []runtime.Object { return world.Typed(files.Objects) }

// Position finds the line of a field of an object of files, by the text that
// provenance names it by.
func Position(files *source.Mesh) func(object, field string) model.Position { return position(files) }
