// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package inforce decides which statement of each Application is in force, where
// changes wait for their tests: the present one, the last one that was in force, or
// none. What was in force is kept in ControllerRevisions (apps/v1), which is what
// that kind is for: the Application owns them, what they hold is immutable, and
// nobody but the operator and administrators may write them.
package inforce

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// LabelRecord marks the ControllerRevisions of this package, and RecordOf is its
// value.
const (
	LabelRecord = "trellis.dev/in-force"
	RecordOf    = "application"
)

// Record is one statement that was put in force.
type Record struct {
	// Namespace and Name are those of the ControllerRevision.
	Namespace, Name string
	// Owner is the UID of the Application, and Generation the one of the statement.
	Owner      types.UID
	Generation int64
	Digest     string
	Spec       v1alpha1.ApplicationSpec
}

// kept is what a ControllerRevision holds.
type kept struct {
	Spec v1alpha1.ApplicationSpec `json:"spec"`
}

// Revision is the object that says that the present statement of an Application is
// in force. Its name depends on the Application's UID and generation.
func Revision(a *v1alpha1.Application) (*appsv1.ControllerRevision, error) {
	raw, err := json.Marshal(kept{a.Spec})
	if err != nil {
		return nil, fmt.Errorf("writing the statement of Application %s/%s: %w", a.Namespace, a.Name, err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", a.UID, a.Generation))
	controls := true
	return &appsv1.ControllerRevision{
		TypeMeta: metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "ControllerRevision"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.Namespace, Name: fmt.Sprintf("trellis-%s-%s", a.Name, hex.EncodeToString(sum[:5])),
			Labels: map[string]string{LabelRecord: RecordOf},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "Application", Name: a.Name, UID: a.UID, Controller: &controls,
			}},
		},
		Data:     runtime.RawExtension{Raw: raw},
		Revision: a.Generation,
	}, nil
}

// Read is what a ControllerRevision says; false where it is none of ours.
func Read(r *appsv1.ControllerRevision) (Record, bool) {
	owner := metav1.GetControllerOf(r)
	if owner == nil || owner.Kind != "Application" || r.Labels[LabelRecord] != RecordOf {
		return Record{}, false
	}
	var k kept
	if err := json.Unmarshal(r.Data.Raw, &k); err != nil {
		return Record{}, false
	}
	return Record{
		Namespace: r.Namespace, Name: r.Name, Owner: owner.UID, Generation: r.Revision,
		Digest: verdict.Digest(&k.Spec), Spec: k.Spec,
	}, true
}

// Newest are the last records by their owners.
func Newest(records []Record) map[types.UID]Record {
	out := make(map[types.UID]Record, len(records))
	for _, r := range records {
		if last, ok := out[r.Owner]; !ok || r.Generation > last.Generation {
			out[r.Owner] = r
		}
	}
	return out
}
