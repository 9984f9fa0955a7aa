// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"errors"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// compareDraft compares a running cluster with what a draft would make of it.
func (o *Options) compareDraft(ctx context.Context, s *streams.Streams, _ []string) (changes *outgoing.Changes, err error) {
	before, after, err := o.Both(ctx, s, time.Now())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, before.Close(), after.Close()) }()
	// What is wrong with the draft closes what it is about, and would be taken for
	// what somebody wants.
	if err := after.Complain(s.Err, s.ErrColour, mesh.Doubt{}); err != nil {
		return nil, err
	}
	mesh.Settle(before, after)
	changes = mesh.Diff(ctx, before, after)
	changes.Notes = append(changes.Notes, after.Refused()...)
	return changes, nil
}
