// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy/rollout"
)

// rollsOut says of a binding with a rollout where another version comes to hold at once than
// the one that held there: a rollout alone does not know what was before it.
func rollsOut(ref model.Reference, old, candidate client.Object) []model.Finding {
	was, ok := old.(*v1alpha1.ClusterPolicyBinding)
	is, too := candidate.(*v1alpha1.ClusterPolicyBinding)
	if !ok || !too || is.Spec.Rollout == nil {
		return nil
	}
	message := begins(was, is)
	if was.Spec.Rollout != nil {
		message = goesOn(was, is)
	}
	if message == "" {
		return nil
	}
	return []model.Finding{{
		Severity: model.SeverityWarning, Object: ref, Field: "spec.rollout.from", Reason: "RolloutFromAnother",
		Message: message, Owner: ref.String(), Fix: "name there the version that holds now, unless another one is meant",
	}}
}

// begins is what comes of a rollout where there was none.
func begins(was, is *v1alpha1.ClusterPolicyBinding) string {
	before := was.Spec.Policy
	if before.Name == is.Spec.Policy.Name && before.Version == is.Spec.Rollout.From {
		return ""
	}
	return fmt.Sprintf("policy %s %s holds in all namespaces, and from now on %s where version %s does not yet",
		before.Name, before.Version, holds(is.Spec.Rollout.From), is.Spec.Policy.Version)
}

// goesOn is what comes of another rollout in place of one.
func goesOn(was, is *v1alpha1.ClusterPolicyBinding) string {
	at, before, from := rollout.Of(was), was.Spec.Policy, is.Spec.Rollout.From
	held := strings.Join(at.Stages[:at.Holding], ", ")
	switch {
	case before == is.Spec.Policy && from != was.Spec.Rollout.From && at.Holding > 0:
		return fmt.Sprintf("version %s has come to hold in %s, and begins anew: from now on %s there", before.Version, held, holds(from))
	case before.Name == is.Spec.Policy.Name && before.Version == from && from != is.Spec.Policy.Version && !at.Complete():
		tried := "no stage"
		if held != "" {
			tried = held + " alone"
		}
		return fmt.Sprintf("version %s has come to hold in %s, and from now on holds in all others, where nobody has tried it", from, tried)
	}
	return ""
}

func holds(version string) string {
	if version == "" {
		return "no version holds"
	}
	return "version " + version + " holds"
}
