// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/model"
	trellisschema "github.com/trellis-mesh/trellis/internal/schema"
)

// Mesh is what the files make of a mesh: the objects of other kinds as they are
// written, and those that Trellis would make.
type Mesh struct {
	*Compiled
	// Objects are all that Istio would find: those of the files that are not
	// Trellis's kinds, and the generated ones.
	Objects []client.Object
	// Position finds the line of a field of an object of the files.
	Position func(object model.Reference, field string) model.Position
	// Mesh is what is true of the mesh as a whole.
	Mesh model.Mesh
}

// meshGroups are the API groups whose kinds Istio's control plane may read.
var meshGroups = map[string]bool{
	"": true, "apps": true, "batch": true, "discovery.k8s.io": true, "networking.istio.io": true, "security.istio.io": true,
	"telemetry.istio.io": true, "extensions.istio.io": true, "gateway.networking.k8s.io": true,
}

// clusterKinds are those of meshGroups whose objects live in no namespace.
var clusterKinds = map[string]bool{"Namespace": true, "Node": true, "GatewayClass": true, "PersistentVolume": true}

// ReadMesh reads the files as Compile does, and keeps what only Istio reads.
func (o *Options) ReadMesh(ctx context.Context, stdin io.Reader) (*Mesh, error) {
	checker, err := trellisschema.Embedded()
	if err != nil {
		return nil, err
	}
	set, err := o.readAll(checker, stdin)
	if err != nil {
		return nil, err
	}
	return o.meshOf(ctx, checker, set, draft{})
}

// readAll reads the files with all kinds that Istio's control plane may read.
func (o *Options) readAll(checker *trellisschema.Checker, stdin io.Reader) (*document.Set, error) {
	scope := func(kind schema.GroupVersionKind) document.Scope {
		if known := checker.Scope(kind); known != document.ScopeUnknown {
			return known
		}
		switch {
		case !meshGroups[kind.Group]:
			return document.ScopeUnknown
		case clusterKinds[kind.Kind]:
			return document.ScopeCluster
		}
		return document.ScopeNamespaced
	}
	return o.read(stdin, scope)
}

// meshOf compiles the files, with the objects of a cluster beneath them.
func (o *Options) meshOf(ctx context.Context, checker *trellisschema.Checker, set *document.Set, over draft) (*Mesh, error) {
	out := &Mesh{Position: set.Position}
	for i := range set.Objects {
		object := &set.Objects[i]
		if object.Kind.Group == v1alpha1.GroupName || object.Refused {
			continue
		}
		value, err := object.Value()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", object.Ref, err)
		}
		out.Objects = append(out.Objects, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(value)})
	}
	known := *set
	known.Objects = slices.DeleteFunc(slices.Clone(set.Objects), func(object document.Object) bool {
		return checker.Scope(object.Kind) == document.ScopeUnknown
	})
	var err error
	if out.Compiled, out.Mesh, err = o.compile(ctx, checker, &known, over); err != nil {
		return nil, err
	}
	for i := range out.Outcome.Objects {
		if value, ok := out.Outcome.Objects[i].Value.(client.Object); ok && out.Outcome.Objects[i].Ref.Group != v1alpha1.GroupName {
			out.Objects = append(out.Objects, value)
		}
	}
	return out, nil
}
