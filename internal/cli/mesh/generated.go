// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/world"
)

// Cluster is what is known of a running cluster to Istio's generator.
type Cluster struct {
	Objects []client.Object
	// MeshConfig is Istio's mesh configuration as YAML; empty: that of ConfigMap
	// istio-system/istio among the objects.
	MeshConfig string
	// Endpoints are EndpointSlices that names lead to and that the cluster does not have.
	Endpoints    []runtime.Object
	About        model.Mesh
	Applications []*v1alpha1.Application
	// Draft is what became of a draft over the cluster; nil: there is none, and the
	// objects are the cluster's as they are.
	Draft *source.Mesh
	// Together is shared by those that are compared; nil: nothing is shared.
	Together *Together
}

// Generated opens what Istio's generator in this process makes of a cluster's
// objects. At is the moment that tokens are looked at. The caller closes it.
func Generated(ctx context.Context, c Cluster, at time.Time) (*Mesh, error) {
	in := world.Input{
		Objects: c.Objects, MeshConfig: c.MeshConfig, Running: c.Draft == nil, Endpoints: c.Endpoints,
		Mesh: c.About, Applications: c.Applications, At: at, Common: c.Together.common(),
	}
	out := &Mesh{Report: &report.Report{}, About: c.About, together: c.Together}
	if c.Draft != nil {
		out.Files, out.Report, in.Position = c.Draft, c.Draft.Report, position(c.Draft)
	}
	if err := out.generate(ctx, in); err != nil {
		return nil, err
	}
	return out, nil
}
