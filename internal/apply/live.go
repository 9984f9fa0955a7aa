// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// FieldManager is the name under which everything is written.
const FieldManager = "trellis"

// The labels that mark an object as ours and name the one that it was made for.
const (
	managedByLabel      = "app.kubernetes.io/managed-by"
	managedBy           = "trellis"
	ownerKindLabel      = "trellis.dev/owner-kind"
	ownerNamespaceLabel = "trellis.dev/owner-namespace"
	ownerNameLabel      = "trellis.dev/owner-name"
)

// Live is what is known of one object in the API server. It does not hold the
// object's body.
type Live struct {
	Ref             model.Reference
	UID             types.UID
	ResourceVersion string
	// Ours is true for what Trellis made: it carries our labels, or our field
	// manager made it and somebody took the labels away.
	Ours bool
	// Owner is the object in the owner labels; zero without them.
	Owner  model.Reference
	Digest Digest
	// Managers are all others that own something which the digest covers, the
	// latest first. Of a foreign object they say who manages it.
	Managers []Manager
	// Deleting is true once the object is on its way out.
	Deleting bool
}

// Manager is an entry of managedFields.
type Manager struct {
	Name string
	// At is when it last changed something.
	At time.Time
}

// LiveOf reads what is to be known of an object of a kind that Trellis generates.
func LiveOf(cluster string, u *unstructured.Unstructured) (Live, error) {
	digest, err := DigestOf(u.Object)
	if err != nil {
		return Live{}, err
	}
	gvk := u.GroupVersionKind()
	labels := u.GetLabels()
	managers, byUs := managersOf(u.GetManagedFields())
	live := Live{
		Ref:      model.Reference{Cluster: cluster, Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()},
		UID:      u.GetUID(),
		Digest:   digest,
		Managers: managers,
		Deleting: u.GetDeletionTimestamp() != nil,

		ResourceVersion: u.GetResourceVersion(),
	}
	labelled := labels[managedByLabel] == managedBy && labels[ownerKindLabel] != "" && labels[ownerNameLabel] != ""
	live.Ours = labelled || byUs
	if labelled {
		live.Owner = model.Reference{
			Cluster: cluster, Group: v1alpha1.GroupName, Kind: labels[ownerKindLabel],
			Namespace: labels[ownerNamespaceLabel], Name: labels[ownerNameLabel],
		}
	}
	return live, nil
}

// managersOf lists who else owns something that matters, and tells whether we do.
func managersOf(entries []metav1.ManagedFieldsEntry) (others []Manager, byUs bool) {
	for _, entry := range entries {
		if entry.Subresource != "" || !ownsEffect(entry.FieldsV1) {
			continue
		}
		if entry.Manager == FieldManager {
			byUs = true
			continue
		}
		m := Manager{Name: strings.Clone(entry.Manager)}
		if entry.Time != nil {
			m.At = entry.Time.Time
		}
		others = append(others, m)
	}
	slices.SortFunc(others, func(a, b Manager) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return others, byUs
}

// ownsEffect reports whether a set of fields has one that the digest covers.
func ownsEffect(fields *metav1.FieldsV1) bool {
	if fields == nil {
		return false
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(fields.GetRawBytes(), &top) != nil {
		return false
	}
	for field, sub := range top {
		switch field {
		case "f:status":
		case "f:metadata":
			if ownsWatchedKey(sub) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func ownsWatchedKey(metadata json.RawMessage) bool {
	var sub struct {
		Labels      map[string]json.RawMessage `json:"f:labels"`
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	}
	if json.Unmarshal(metadata, &sub) != nil {
		return false
	}
	for _, keys := range []map[string]json.RawMessage{sub.Labels, sub.Annotations} {
		for key := range keys {
			if watchedKey(strings.TrimPrefix(key, "f:")) {
				return true
			}
		}
	}
	return false
}
