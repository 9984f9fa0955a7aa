// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/load"
)

// EachDelegated gives what Trellis made of another controller's kind to visit. A
// cluster without the kind has none, and so has who may not read it: most people
// have left nothing to that controller.
func EachDelegated(ctx context.Context, c *Cluster, kind schema.GroupVersionKind, visit func(*unstructured.Unstructured)) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := c.List(ctx, list, client.InNamespace(c.Namespace), client.MatchingLabels{load.ManagedByLabel: load.ManagedBy})
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err), apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return Problem("listing what is there", err)
	}
	for i := range list.Items {
		visit(&list.Items[i])
	}
	return nil
}
