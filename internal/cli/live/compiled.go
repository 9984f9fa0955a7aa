// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// AddStatementFlags registers the flags of questions about what people stated. They are
// answered without the configuration of any proxy, so istiod is not asked.
func (o *Options) AddStatementFlags(cmd *cobra.Command) {
	o.Options.AddFlags(cmd)
	o.Cluster.AddContextFlags(cmd)
	cmd.Flags().StringVar(&o.IstioNamespace, "istio-namespace", rootNamespace, "namespace of istiod")
}

// CompileOf is what is stated in a mesh that is open: what its files became, and of a
// running cluster what Compile says.
func (o *Options) CompileOf(ctx context.Context, m *mesh.Mesh, s *streams.Streams) (*source.Compiled, error) {
	if m.Files != nil {
		return m.Files.Compiled, nil
	}
	return o.Compile(ctx, s)
}

// Compile compiles what the files state, or what a running cluster does, with the files
// as a draft over it. What could not be read of it is said on standard error.
func (o *Options) Compile(ctx context.Context, s *streams.Streams) (*source.Compiled, error) {
	if !o.Running() {
		return o.Options.Compile(ctx, s.In)
	}
	a, err := o.connect(s)
	if err != nil {
		return nil, err
	}
	defer a.waiting.stop()
	read, err := o.readForGenerator(ctx, a)
	if err != nil {
		return nil, err
	}
	over, err := o.overlay(ctx, s.In, read, o.Moment(time.Now()))
	if err != nil {
		return nil, err
	}
	var doubt strings.Builder
	output.Notes(&doubt, read.lacks)
	if _, err := io.WriteString(s.Err, doubt.String()); err != nil {
		return nil, err
	}
	return over.Compiled, nil
}
