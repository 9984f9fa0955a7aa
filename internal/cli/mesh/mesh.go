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

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/world"
	"github.com/trellis-mesh/trellis/internal/xds"
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

	world *world.World
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
func (m *Mesh) Close() error { return m.world.Close() }

// Open reads the files and runs Istio's generator on what they make. At is the
// moment that tokens are looked at. The caller closes it.
func Open(ctx context.Context, o *source.Options, stdin io.Reader, at time.Time) (*Mesh, error) {
	files, err := o.ReadMesh(ctx, stdin)
	if err != nil {
		return nil, err
	}
	w, err := world.Open(ctx, world.Input{
		Objects: files.Objects, Mesh: files.Mesh, Applications: files.Applications, Position: position(files), At: at,
	})
	if err != nil {
		return nil, err
	}
	return &Mesh{World: w.World, Files: files, Report: files.Report, Problems: w.Problems, world: w}, nil
}

// position finds an object by the text that provenance names it by.
func position(files *source.Mesh) func(object, field string) model.Position {
	subjects := map[string]model.Reference{}
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
