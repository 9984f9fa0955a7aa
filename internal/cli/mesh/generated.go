// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
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
}

// Generated opens what Istio's generator in this process makes of a cluster's
// objects. At is the moment that tokens are looked at. The caller closes it.
func Generated(ctx context.Context, c Cluster, at time.Time) (*Mesh, error) {
	g, err := generator.New(ctx, generator.Input{
		Objects: c.Objects, MeshConfig: c.MeshConfig, Cluster: c.About.Cluster, FromFiles: c.Draft != nil,
	})
	if err != nil {
		return nil, err
	}
	out := &Mesh{Report: &report.Report{}, Problems: g.Problems(), About: c.About, generator: g}
	objects, where := typed(c.Objects), func(_, _ string) model.Position { return model.Position{} }
	if c.Draft != nil {
		out.Files, out.Report, where = c.Draft, c.Draft.Report, position(c.Draft)
		objects = append(g.Objects(), slices.DeleteFunc(objects, completed)...)
	}
	objects = append(objects, c.Endpoints...)
	if err := out.open(ctx, objects, where, c.Applications, at); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return out, nil
}

// completed reports whether the generator has an object in a form of its own.
func completed(object runtime.Object) bool {
	switch object.(type) {
	case *corev1.Pod, *corev1.Service, *discoveryv1.EndpointSlice:
		return true
	}
	return false
}

// open puts together what is asked about, on the generator.
func (m *Mesh) open(ctx context.Context, objects []runtime.Object, where func(object, field string) model.Position, applications []*v1alpha1.Application, at time.Time) error {
	view, err := xds.NewMesh(ctx, m.generator)
	if err != nil {
		return fmt.Errorf("listing the proxies: %w", err)
	}
	servers, err := xds.NewMesh(ctx, inbound{m.generator, view})
	if err != nil {
		return fmt.Errorf("listing the proxies: %w", err)
	}
	m.World = World(ctx, view, ask.NewDirectory(objects, m.About.ClusterDomain), ask.NewOrigins(objects, where), applications, at)
	m.Servers = bound{ctx, servers}
	return nil
}
