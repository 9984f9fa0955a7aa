// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package attribution_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/attribution"
)

// changed is an entry of managedFields, of that many hours before noon.
func changed(hours int, subresource string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: "somebody", Operation: metav1.ManagedFieldsOperationApply, Subresource: subresource,
		Time: &metav1.Time{Time: noon.Add(-time.Duration(hours) * time.Hour)}, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`),
	}
}

func TestARuleIsInForceSinceItsObjectWasChangedLast(t *testing.T) {
	in := mesh(t)
	for _, o := range in.Objects {
		if meta, is := o.(metav1.Object); is && meta.GetName() == allow {
			// The status is written again and again, and says nothing of the rules.
			meta.SetManagedFields([]metav1.ManagedFieldsEntry{changed(50, ""), changed(7, ""), changed(1, "status")})
			attribution.KeepChanged(meta)
			if kept := meta.GetManagedFields(); len(kept) != 1 || kept[0].FieldsV1 != nil {
				t.Errorf("it keeps %+v", kept)
			}
		}
	}
	known, unknown := 0, 0
	for _, rule := range attribution.New(in).InForce() {
		switch {
		case strings.HasSuffix(rule.Object, "/"+allow):
			if known++; !rule.Since.Equal(noon.Add(-7*time.Hour)) || rule.Refuses {
				t.Errorf("%+v", rule)
			}
		case rule.Since.IsZero():
			unknown++
		default:
			t.Errorf("of %+v nobody said it", rule)
		}
	}
	if known == 0 || unknown == 0 {
		t.Errorf("%d and %d rules", known, unknown)
	}
}

func TestOfAnObjectThatNobodyNotesChangesOfNothingIsKept(t *testing.T) {
	o := &metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{changed(1, "status")}}
	attribution.KeepChanged(o)
	if o.ManagedFields != nil || !attribution.Changed(o).IsZero() {
		t.Errorf("it keeps %+v", o.ManagedFields)
	}
}
