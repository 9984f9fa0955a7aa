// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/model"
)

// Provenance is what a generated object says of its rules.
type Provenance = provenance.Provenance

// Reason is why one of them is there.
type Reason = provenance.Reason

// place is where something was stated: an origin, or a field below it.
type place struct {
	origin *model.Origin
	below  string
}

func at(o *model.Origin) place { return place{origin: o} }

func below(o *model.Origin, field string) place { return place{o, field} }

func (p place) field() string {
	switch {
	case p.below == "":
		return p.origin.Field
	case p.origin.Field == "":
		return p.below
	default:
		return p.origin.Field + "." + p.below
	}
}

// stamp is the origin and reason of one generated rule.
type stamp struct {
	place  place
	reason Reason
}

// provenanceOf is that of an object's rules.
func provenanceOf(stamps []stamp) provenance.Provenance {
	w := provenance.NewWriter(len(stamps))
	for _, s := range stamps {
		w.Add(s.place.origin, s.place.field(), s.reason)
	}
	return w.Provenance()
}

// maxAnnotation is the size above which provenance moves to a ConfigMap: half
// of what Kubernetes takes for all annotations of an object together.
const maxAnnotation = 128 << 10

// object finishes a generated object: labels, provenance, and a ConfigMap for
// the provenance where it is too large.
func (b *builder) object(value Resource, kind, group string, owners []model.Reference, stamps []stamp) {
	value.SetLabels(b.ownerLabels(owners))
	text, err := provenanceOf(stamps).Text()
	if err != nil {
		b.broken = append(b.broken, fmt.Errorf("encoding the origin of %s %s/%s, %w", kind, value.GetNamespace(), value.GetName(), err))
		return
	}
	if len(text) > maxAnnotation {
		name := shorten("trellis-origin-" + lower(kind) + "-" + value.GetName())
		b.add(&corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Namespace: value.GetNamespace(), Name: name, Labels: b.ownerLabels(owners)},
			Data:       map[string]string{"origin": string(text)},
		}, "ConfigMap", "", owners)
		text, _ = json.Marshal(provenance.Provenance{ConfigMap: name})
	}
	annotations := map[string]string{AnnotationOrigin: string(text)}
	maps.Copy(annotations, value.GetAnnotations())
	value.SetAnnotations(annotations)
	b.add(value, kind, group, owners)
}

// ownerLabels are shared by all objects of one owner.
func (b *builder) ownerLabels(owners []model.Reference) map[string]string {
	var first model.Reference
	if len(owners) > 0 {
		first = owners[0]
	}
	if labels := b.labels[first]; labels != nil {
		return labels
	}
	labels := map[string]string{LabelManagedBy: ManagedBy}
	if len(owners) > 0 {
		labels[LabelOwnerKind] = first.Kind
		labels[LabelOwnerNamespace] = first.Namespace
		labels[LabelOwnerName] = first.Name
	}
	b.labels[first] = labels
	return labels
}
