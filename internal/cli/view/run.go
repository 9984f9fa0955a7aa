// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options say how something is shown.
type Options struct {
	// Format is one of output.Formats.
	Format string
	// Watch stays and shows what changes.
	Watch bool
	// Empty says for people that there is nothing.
	Empty string
	// Kinds are those whose changes are followed.
	Kinds []client.Object
}

// Show shows what read finds in a cluster, once or until ctx ends. It returns
// exit.ErrFindings where something needs a person, at the end if it stays.
func Show(ctx context.Context, s *streams.Streams, c *cluster.Cluster, o Options, read func(context.Context, *cluster.Cluster) (*Frame, error)) error {
	// Also before staying: who may not read, or mistypes a name, is told at once.
	frame, err := read(ctx, c)
	if err != nil {
		return err
	}
	if !o.Watch {
		if frame.empty() {
			_, _ = fmt.Fprintln(s.Err, o.Empty)
		}
		if err := frame.Write(s.Out, o.Format, s.OutColour); err != nil {
			return err
		}
		return frame.verdict()
	}
	v := NewWatch(s, o.Format)
	if err := v.Show(frame); err != nil {
		return err
	}
	lost := func(err error) {
		_, _ = fmt.Fprintf(s.Err, "the cluster cannot be asked, so what is shown may be old; trying again: %v\n", err)
	}
	err = c.Follow(ctx, o.Kinds, lost, func(c *cluster.Cluster) error {
		frame, err := read(ctx, c)
		if err != nil {
			return err
		}
		return v.Show(frame)
	})
	if err != nil {
		return err
	}
	return v.last.verdict()
}

func (f *Frame) empty() bool {
	for _, s := range f.Sections {
		if len(s.Items) > 0 {
			return false
		}
	}
	return true
}

func (f *Frame) verdict() error {
	if f.NeedsPerson() {
		return exit.ErrFindings
	}
	return nil
}
