// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls/rollout"
)

// scope is what stages are looked for.
func (o *planOptions) scope(ctx context.Context, m *mesh.Mesh, namespaces []string) (rollout.Scope, error) {
	if o.Rollout != "" {
		return o.ofRollout(ctx, m)
	}
	out := rollout.Scope{Kind: v1alpha1.StageService, In: func(n string) bool { return len(namespaces) == 0 || slices.Contains(namespaces, n) }}
	if o.By != "" {
		out.Kind = kinds[o.By]
	}
	there := serving(m)
	for _, n := range namespaces {
		if !there[n] {
			return out, fmt.Errorf("reading NAMESPACE: there is no service in namespace %s", n)
		}
	}
	return out, nil
}

// serving are the namespaces with Services.
func serving(m *mesh.Mesh) map[string]bool {
	out := map[string]bool{}
	for _, s := range m.Directory.Services() {
		out[s.Name.Namespace] = true
	}
	return out
}

// ofRollout is the scope of a MutualTLSRollout: of the files where it is there, and
// otherwise of the cluster.
func (o *planOptions) ofRollout(ctx context.Context, m *mesh.Mesh) (rollout.Scope, error) {
	found, err := o.find(ctx, m)
	if err != nil {
		return rollout.Scope{}, err
	}
	there := m.Namespaces()
	for n := range serving(m) {
		if !slices.ContainsFunc(there, func(o model.Namespace) bool { return o.Name == n }) {
			there = append(there, model.Namespace{Name: n})
		}
	}
	chosen, missing, err := rollout.Chosen(found.Spec.Namespaces, there)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("there is no namespace %s: correct spec.namespaces.names, or give the objects of that namespace, too", strings.Join(missing, ", "))
	}
	if err != nil {
		return rollout.Scope{}, fmt.Errorf("reading MutualTLSRollout %s: %w", o.Rollout, err)
	}
	return rollout.Scope{Kind: rollout.KindOf(&found.Spec), In: func(n string) bool { return slices.Contains(chosen, n) }, Rollout: o.Rollout}, nil
}

func (o *planOptions) find(ctx context.Context, m *mesh.Mesh) (*v1alpha1.MutualTLSRollout, error) {
	if m.Files != nil {
		for _, r := range m.Files.MutualTLSRollouts {
			if r.Name == o.Rollout {
				return r, nil
			}
		}
	}
	if !o.Running() {
		return nil, fmt.Errorf("reading --rollout: there is no MutualTLSRollout %s without errors in the files", o.Rollout)
	}
	c, err := o.Cluster.Connect()
	if err != nil {
		return nil, err
	}
	out := &v1alpha1.MutualTLSRollout{}
	if err := c.Get(ctx, client.ObjectKey{Name: o.Rollout}, out); err != nil {
		return nil, cluster.Problem("reading MutualTLSRollout "+o.Rollout, err)
	}
	return out, nil
}
