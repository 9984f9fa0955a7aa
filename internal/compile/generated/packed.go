// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generated

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Packed is an Object in encoded form, a fifth of its size in memory. All of a
// mesh together are the largest thing that an operator holds, and few of them
// are looked at after they were compared. It is immutable.
type Packed struct {
	Ref    model.Reference
	Owners []model.Reference
	// Spec is the deterministic encoding of the spec's message; nil for a kind
	// without one. Read only.
	Spec []byte

	apiVersion string
	labels     map[string]string
	// origin is the annotation of that name, and others are all others.
	origin string
	others map[string]string
	// whole is the object where there is no message.
	whole Resource
}

// Pack encodes an object, and shares its labels.
func Pack(o Object) (Packed, error) {
	p, _, err := new(Packer).Pack(o, Packed{})
	return p, err
}

// Packer packs many objects, for one goroutine. The zero value is ready.
type Packer struct{ buffer []byte }

// Pack is the function of that name, with the object's earlier form: where
// labels, provenance and spec are as they were, the result shares them with
// it, and same is true. It never is for a kind without a message.
func (k *Packer) Pack(o Object, was Packed) (p Packed, same bool, err error) {
	p = Packed{Ref: o.Ref, Owners: o.Owners, labels: o.Value.GetLabels(), origin: o.Value.GetAnnotations()[AnnotationOrigin]}
	spec := specOf(o.Value)
	if spec == nil {
		p.whole = o.Value
		return p, false, nil
	}
	k.buffer, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(k.buffer[:0], spec)
	if err != nil {
		return Packed{}, false, fmt.Errorf("encoding %s: %w", o.Ref, err)
	}
	p.others = othersOf(o.Value.GetAnnotations())
	p.apiVersion, _ = o.Value.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	if was.Spec != nil && was.Ref == p.Ref && was.apiVersion == p.apiVersion && bytes.Equal(was.Spec, k.buffer) &&
		maps.Equal(was.labels, p.labels) && was.origin == p.origin && maps.Equal(was.others, p.others) {
		p.Spec, p.labels, p.origin, p.others = was.Spec, was.labels, was.origin, was.others
		return p, true, nil
	}
	p.Spec = append(make([]byte, 0, len(k.buffer)), k.buffer...)
	return p, false, nil
}

// Unpack decodes the object. Each call gives a spec of its own; labels are
// shared, and read only.
func (p Packed) Unpack() (Object, error) {
	o := Object{Ref: p.Ref, Owners: p.Owners, Value: p.whole}
	if p.whole != nil {
		return o, nil
	}
	if o.Value = newResource(p.Ref.Kind); o.Value == nil {
		return Object{}, fmt.Errorf("decoding %s: nobody packed it", p.Ref)
	}
	o.Value.GetObjectKind().SetGroupVersionKind(p.GroupVersionKind())
	o.Value.SetNamespace(p.Ref.Namespace)
	o.Value.SetName(p.Ref.Name)
	o.Value.SetLabels(p.labels)
	annotations := map[string]string{AnnotationOrigin: p.origin}
	maps.Copy(annotations, p.others)
	o.Value.SetAnnotations(annotations)
	if err := proto.Unmarshal(p.Spec, specOf(o.Value)); err != nil {
		return Object{}, fmt.Errorf("decoding %s: %w", p.Ref, err)
	}
	return o, nil
}

// GroupVersionKind is the object's kind; empty for the zero value.
func (p Packed) GroupVersionKind() schema.GroupVersionKind {
	if p.whole != nil {
		return p.whole.GetObjectKind().GroupVersionKind()
	}
	return schema.FromAPIVersionAndKind(p.apiVersion, p.Ref.Kind)
}

// Origin is the object's provenance; ok is false where it has none.
func (p Packed) Origin() (origin provenance.Provenance, ok bool) {
	err := json.Unmarshal([]byte(p.origin), &origin)
	return origin, err == nil
}

// othersOf are the annotations without the provenance; nil for most objects.
func othersOf(annotations map[string]string) map[string]string {
	if _, ok := annotations[AnnotationOrigin]; ok && len(annotations) == 1 {
		return nil
	}
	others := maps.Clone(annotations)
	delete(others, AnnotationOrigin)
	return others
}

// specOf is the message inside an Istio object, or nil.
func specOf(value Resource) proto.Message {
	switch o := value.(type) {
	case *securityv1.AuthorizationPolicy:
		return &o.Spec
	case *securityv1.RequestAuthentication:
		return &o.Spec
	case *securityv1.PeerAuthentication:
		return &o.Spec
	case *networkingv1.Gateway:
		return &o.Spec
	case *networkingv1.VirtualService:
		return &o.Spec
	case *networkingv1.DestinationRule:
		return &o.Spec
	case *networkingv1.Sidecar:
		return &o.Spec
	case *networkingv1.ServiceEntry:
		return &o.Spec
	case *networkingv1alpha3.EnvoyFilter:
		return &o.Spec
	}
	return nil
}

// newResource is an empty object of a kind whose spec is a message, or nil.
func newResource(kind string) Resource {
	switch kind {
	case "AuthorizationPolicy":
		return &securityv1.AuthorizationPolicy{}
	case "RequestAuthentication":
		return &securityv1.RequestAuthentication{}
	case "PeerAuthentication":
		return &securityv1.PeerAuthentication{}
	case "Gateway":
		return &networkingv1.Gateway{}
	case "VirtualService":
		return &networkingv1.VirtualService{}
	case "DestinationRule":
		return &networkingv1.DestinationRule{}
	case "Sidecar":
		return &networkingv1.Sidecar{}
	case "ServiceEntry":
		return &networkingv1.ServiceEntry{}
	case "EnvoyFilter":
		return &networkingv1alpha3.EnvoyFilter{}
	}
	return nil
}
