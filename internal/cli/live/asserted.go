// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Judge does what Compile does, and where policies assert something it asks that of what
// Istio's generator in this process makes: of a running cluster as it is, unless there is
// a draft. Where that cannot be done each assertion says so.
func (o *Options) Judge(ctx context.Context, s *streams.Streams) (*source.Compiled, error) {
	return o.JudgeWith(ctx, s, nil)
}

// JudgeWith does what Judge does, and shows what Istio's generator makes to a function
// before it is let go; nil: it is of no other use.
func (o *Options) JudgeWith(ctx context.Context, s *streams.Streams, look func(*mesh.Mesh) error) (*source.Compiled, error) {
	if o.Running() {
		return o.judgeRunning(ctx, s, look)
	}
	own := o.Options
	own.At = o.Moment(time.Now())
	files, err := own.ReadMesh(ctx, s.In)
	if err != nil {
		return nil, err
	}
	if len(files.Outcome.Assertions) > 0 || look != nil {
		m, err := o.Together.OfFiles(ctx, files, own.At)
		if err := assert(m, err, files.Compiled, look); err != nil {
			return nil, err
		}
	}
	return files.Compiled, nil
}

func (o *Options) judgeRunning(ctx context.Context, s *streams.Streams, look func(*mesh.Mesh) error) (*source.Compiled, error) {
	compiled, err := o.Compile(ctx, s)
	if err != nil || len(compiled.Outcome.Assertions) == 0 && look == nil {
		return compiled, err
	}
	own := *o
	own.Source = fromGenerator
	m, err := own.Open(ctx, s, compiled.Snapshot.At())
	return compiled, assert(m, err, compiled, look)
}

// assert asks what is asserted of a mesh, which it closes after somebody has looked at it.
// Of one that could not be opened nothing is known, and each assertion says why; there is
// nothing to look at then.
func assert(m *mesh.Mesh, opening error, of *source.Compiled, look func(*mesh.Mesh) error) error {
	if opening != nil {
		if look != nil {
			return opening
		}
		for _, a := range of.Outcome.Assertions {
			a.Answer = &policy.Answer{Outcome: policy.Unknown, Says: "the configuration of proxies is not known: " + opening.Error()}
		}
		return nil
	}
	if len(of.Outcome.Assertions) > 0 {
		trial.RunAssertions(m.World, of.Outcome.Assertions, m.About.ClusterDomain, m.Published)
	}
	var err error
	if look != nil {
		err = look(m)
	}
	if closing := m.Close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("letting Istio's generator go: %w", closing))
	}
	return err
}
