// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// entry is what a cache holds of one object. It is never changed.
type entry struct {
	metav1.ObjectMeta
	// object is what package load reads; nil when it is of no use there.
	object runtime.Object
	// live is set for objects of the kinds that Trellis generates.
	live *apply.Live
	// certificate is what is left of a Secret.
	certificate *model.Certificate
	// issuer is what is left of one of cert-manager's.
	issuer *delegation.Issuer
	// record is a statement that was put in force.
	record *inforce.Record
	// report is what is left of a report about policies.
	report *openreports.Seen
}

var _ runtime.Object = (*entry)(nil)

// GetObjectKind makes an entry a runtime.Object, which caches ask for.
func (*entry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject gives the entry itself: nobody changes one.
func (e *entry) DeepCopyObject() runtime.Object { return e }

// newEntry begins with the name and version alone.
func newEntry(o metav1.Object) *entry {
	return &entry{ObjectMeta: metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}}
}

// differs reports whether a change of an object can change what follows from it.
// A new resource version alone, as after a status update, cannot.
func (e *entry) differs(o *entry) bool {
	if e.UID != o.UID || (e.live == nil) != (o.live == nil) {
		return true
	}
	if e.live != nil {
		a, b := *e.live, *o.live
		a.ResourceVersion, a.Managers, b.ResourceVersion, b.Managers = "", nil, "", nil
		if !reflect.DeepEqual(a, b) {
			return true
		}
	}
	return !reflect.DeepEqual(e.record, o.record) || !reflect.DeepEqual(e.certificate, o.certificate) || !reflect.DeepEqual(e.issuer, o.issuer) || !sameStatement(e.object, o.object)
}

// sameStatement compares objects of Trellis's own kinds by generation and what
// of the metadata has a meaning, and all others, which were stripped, whole.
func sameStatement(a, b runtime.Object) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	switch a.(type) {
	case *delegation.Certificate, *delegation.DNSEndpoint:
		// Their status is what matters.
		return reflect.DeepEqual(a, b)
	}
	am, aerr := meta.Accessor(a)
	bm, berr := meta.Accessor(b)
	if aerr != nil || berr != nil || am.GetGeneration() == 0 {
		return reflect.DeepEqual(a, b)
	}
	if claim, ok := a.(*v1alpha1.HostClaim); ok {
		other, ok := b.(*v1alpha1.HostClaim)
		// Nobody but us writes it, and we go by what it says.
		if !ok || !claim.Status.UnusedSince.Equal(other.Status.UnusedSince) {
			return false
		}
	}
	if binding, ok := a.(*v1alpha1.ClusterPolicyBinding); ok {
		other, ok := b.(*v1alpha1.ClusterPolicyBinding)
		// How far a rollout has come decides which version holds where.
		if !ok || !reflect.DeepEqual(binding.Status.Rollout, other.Status.Rollout) {
			return false
		}
	}
	return am.GetGeneration() == bm.GetGeneration() &&
		reflect.DeepEqual(am.GetLabels(), bm.GetLabels()) &&
		reflect.DeepEqual(am.GetAnnotations(), bm.GetAnnotations()) &&
		(am.GetDeletionTimestamp() == nil) == (bm.GetDeletionTimestamp() == nil)
}
