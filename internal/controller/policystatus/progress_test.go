// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policystatus_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/controller/policystatus"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/posture"
)

var noon = time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)

// tried is that of a stage that is quiet since an hour before noon, the soak of it.
func tried(stage string, holds ...string) *v1alpha1.PolicyRolloutStatus {
	since := metav1.NewTime(noon.Add(-time.Hour))
	return &v1alpha1.PolicyRolloutStatus{Version: "2.0.0", Stage: stage, State: v1alpha1.RolloutTrying, Since: &since, QuietSince: &since, Stages: 2, Holds: holds}
}

// statusOf is the status of a binding of which a cache shows one status and another one may
// be known. The template of its version is there or not.
func statusOf(t *testing.T, cached, known v1alpha1.PolicyBindingStatus, there bool) (*v1alpha1.PolicyBindingStatus, *metav1.Condition) {
	t.Helper()
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 1}, Status: cached}
	b.Spec.Tier, b.Spec.Mode, b.Spec.Policy = v1alpha1.TierMandatory, v1alpha1.ModeEnforce, v1alpha1.PolicyVersion{Name: "p", Version: "2.0.0"}
	b.Spec.Rollout = &v1alpha1.PolicyRolloutSpec{Soak: metav1.Duration{Duration: time.Hour}, Stages: []v1alpha1.PolicyRolloutStage{{Name: "dev"}}}
	in := model.Input{Mesh: model.DefaultMesh(), At: noon}
	in.Policies.ClusterBindings = []*v1alpha1.ClusterPolicyBinding{b}
	if there {
		template := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "p-2.0.0"}}
		template.Spec = v1alpha1.PolicyTemplateSpec{Policy: "p", Version: "2.0.0", Constraints: []v1alpha1.Constraint{{Name: "c", Subject: v1alpha1.SubjectRoute, Expression: "true"}}}
		in.Policies.Templates = []*v1alpha1.PolicyTemplate{template}
	}
	snapshot := model.NewSnapshot(in)
	all := policystatus.All(snapshot, posture.Of(snapshot, compile.Compile(snapshot)), func(model.Reference) []v1alpha1.Problem { return nil },
		func(o metav1.Object, cached any) any {
			if o == b {
				return &known
			}
			return cached
		})
	i := slices.IndexFunc(all, func(s *policystatus.Status) bool { return s.Ref.Kind == "ClusterPolicyBinding" })
	if i < 0 {
		t.Fatal("the binding has no status")
	}
	is, ok := all[i].Is.(*v1alpha1.PolicyBindingStatus)
	if !ok {
		t.Fatalf("it is %T", all[i].Is)
	}
	k := slices.IndexFunc(all[i].After, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionProgressing })
	if k < 0 {
		return is, nil
	}
	return is, &all[i].After[k]
}

func TestARolloutGoesOnFromWhatWasJudged(t *testing.T) {
	cached := v1alpha1.PolicyBindingStatus{Rollout: tried("dev")}
	is, progressing := statusOf(t, cached, cached, true)
	if is.Rollout == nil || is.Rollout.Stage != "rest" || !slices.Equal(is.Rollout.Holds, []string{"dev"}) || progressing == nil || progressing.Reason != "Trying" {
		t.Errorf("%+v, %+v", is.Rollout, progressing)
	}
	if is, progressing = statusOf(t, cached, cached, false); is.Rollout.Stage != "dev" || progressing.Reason != "Trouble" {
		t.Errorf("without its template: %+v, %+v", is.Rollout, progressing)
	}

	// What a cache does not show yet was not judged, so it stands as it was written: a
	// version never goes back because of a cache that lags behind.
	known := v1alpha1.PolicyBindingStatus{Rollout: tried("rest", "dev"), Conditions: []metav1.Condition{{Type: v1alpha1.ConditionProgressing, Reason: "Written"}}}
	for _, there := range []bool{true, false} {
		is, progressing = statusOf(t, cached, known, there)
		if is.Rollout == nil || is.Rollout.Stage != "rest" || progressing == nil || progressing.Reason != "Written" {
			t.Errorf("%+v, %+v", is.Rollout, progressing)
		}
	}
}
