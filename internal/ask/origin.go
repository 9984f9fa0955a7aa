// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"encoding/json"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Origin is the statement that a rule was made from.
type Origin struct {
	// Object is whose statement it is: "Application shop/cart".
	Object string `json:"object"`
	// Field is the path of the statement, such as spec.routes[1].authentication;
	// empty for the whole object.
	Field string `json:"field,omitempty"`
	// Source is where the object is kept: what its annotation trellis.dev/source
	// says, or file:line.
	Source string `json:"source,omitempty"`
	// Layer is who made the statement.
	Layer model.Layer `json:"layer,omitempty"`
	// Reason is the one thing that the rule checks.
	Reason compile.Reason `json:"reason,omitempty"`
}

// Origins knows the statements behind generated objects, by what the objects say
// of themselves. It is immutable and safe for concurrent use.
type Origins struct {
	objects map[objectKey]compile.Provenance
	// routes are the places of a VirtualService's routes by their names.
	routes map[objectKey]map[string]int
	// position finds the line of a field of an object that was read from a file;
	// nil where nothing was.
	position func(object, field string) model.Position
}

type objectKey struct{ kind, namespace, name string }

// NewOrigins reads the annotations of generated objects; other objects are left
// out. Position may be nil.
func NewOrigins(objects []runtime.Object, position func(object, field string) model.Position) *Origins {
	o := &Origins{objects: map[objectKey]compile.Provenance{}, routes: map[objectKey]map[string]int{}, position: position}
	elsewhere := map[objectKey]string{}
	for _, object := range objects {
		if c, ok := object.(*corev1.ConfigMap); ok {
			elsewhere[objectKey{"ConfigMap", c.Namespace, c.Name}] = c.Data["origin"]
		}
	}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			continue
		}
		text, ok := accessor.GetAnnotations()[compile.AnnotationOrigin]
		if !ok {
			continue
		}
		key := objectKey{object.GetObjectKind().GroupVersionKind().Kind, accessor.GetNamespace(), accessor.GetName()}
		var p compile.Provenance
		// An annotation that somebody has damaged says nothing.
		if json.Unmarshal([]byte(text), &p) != nil {
			continue
		}
		if p.ConfigMap != "" {
			if json.Unmarshal([]byte(elsewhere[objectKey{"ConfigMap", key.namespace, p.ConfigMap}]), &p) != nil {
				continue
			}
		}
		o.objects[key] = p
		if service, ok := object.(*networkingv1.VirtualService); ok {
			o.routes[key] = map[string]int{}
			for i, route := range service.Spec.GetHttp() {
				o.routes[key][route.GetName()] = i
			}
		}
	}
	return o
}

// Of finds the statement behind a step of a verdict; nil where nothing generated
// is behind it.
func (o *Origins) Of(step decide.Step) *Origin {
	if o == nil || step.Object == nil {
		return nil
	}
	key := objectKey{step.Object.Kind, step.Object.Namespace, step.Object.Name}
	rule := step.Object.Rule
	if rule < 0 {
		at, ok := o.routes[key][step.Rule]
		if !ok {
			return nil
		}
		rule = at
	}
	p, ok := o.objects[key]
	if !ok {
		return nil
	}
	object, field, reason, ok := p.Rule(rule)
	if !ok {
		return nil
	}
	out := &Origin{Object: object, Field: field, Reason: reason, Layer: p.Rules[rule].Layer}
	if at := p.Rules[rule].Source; at >= 0 && at < len(p.Sources) {
		out.Source = p.Sources[at]
	}
	if o.position != nil {
		if position := o.position(object, field); position.File != "" {
			out.Source = fmt.Sprintf("%s:%d", position.File, position.Line)
		}
	}
	return out
}
