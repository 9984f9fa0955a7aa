// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"slices"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// Compared is a World with what was said of the statements that it was made from.
type Compared struct {
	*World
	Findings []model.Finding
}

// Diff finds the requests to which a change makes a difference where they are let in, and the
// calls to which it makes one where they are let out.
func Diff(ctx context.Context, before, after Compared) *outgoing.Changes {
	out := &outgoing.Changes{Changes: *ask.Diff(before.World.World, after.World.World, Alike(before.World, after.World))}
	differing := generator.OutgoingBetween(before.generator, after.generator)
	calls, notes := outgoing.Compare(before.calling(ctx), after.calling(ctx), outgoing.Differing(differing))
	out.Calls, out.Notes = calls, append(out.Notes, notes...)
	slices.Sort(out.Notes)
	return out
}

// calling does not go by the World's own configurations: those it keeps.
func (c Compared) calling(ctx context.Context) outgoing.Side {
	return outgoing.Side{
		World: c.World.World, Scope: c.generator.Scopes().Of, Findings: c.Findings,
		Config: func(n xds.Node) (*xds.Config, error) { return c.generator.ConfigOnce(ctx, n) },
	}
}
