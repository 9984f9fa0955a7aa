// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

func TestTestsAreRunAgainWhenAStageOfARolloutComesToHold(t *testing.T) {
	noon := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	digest := func(trouble int32, holds ...string) string {
		b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
		b.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ClusterPolicyBinding"))
		b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{Stages: []v1alpha1.PolicyRolloutStage{{Name: "dev"}}}
		b.Status.Rollout = &v1alpha1.PolicyRolloutStatus{Holds: holds, Trouble: trouble}
		s, err := NewState(Options{}, []client.Object{b}, noon)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest
	}
	if digest(0) == digest(0, "dev") {
		t.Error("another version holds, and nothing is told of it")
	}
	if digest(0) != digest(3) {
		t.Error("nothing else holds than before, and tests are run again")
	}
}
