// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// doubting binds a policy about callers. Of some of them its expression gives what is said
// there, and of all others what it gives anyway.
func doubting(in model.Input, mode v1alpha1.PolicyMode, only, byApplication bool, some, gives string, otherwise v1alpha1.Expression) model.Input {
	chosen := &v1alpha1.AccessContribution{}
	text := v1alpha1.Expression(fmt.Sprintf("%s ? %s : %s", some, gives, otherwise))
	if byApplication {
		chosen.Applications = text
	} else {
		chosen.From = text
	}
	c := v1alpha1.Contribution{Name: "rule", DenyAccess: chosen}
	if only {
		c = v1alpha1.Contribution{Name: "rule", RestrictAccess: chosen}
	}
	t := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "doubting-1.0.0"}}
	t.Spec = v1alpha1.PolicyTemplateSpec{
		Policy: "doubting", Version: "1.0.0", Title: "doubting", Remediation: v1alpha1.Remediation{Text: "meet it"}, Contributions: []v1alpha1.Contribution{c},
	}
	b := &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "doubting"}}
	b.Spec.Tier, b.Spec.Mode, b.Spec.Policy = v1alpha1.TierMandatory, mode, v1alpha1.PolicyVersion{Name: "doubting", Version: "1.0.0"}
	in.Policies.Templates = append(slices.Clone(in.Policies.Templates), t)
	in.Policies.ClusterBindings = append(slices.Clone(in.Policies.ClusterBindings), b)
	return in
}

// An error of an expression about one caller keeps that caller away, as if the expression
// gave whatever keeps it away, and nobody else. So it lets in no request that is refused by
// either answer.
func TestAnErrorAboutACallerKeepsThatCallerAwayAndNobodyElse(t *testing.T) {
	const failing = "caller.labels['of nobody'] == ''"
	differ, said := 0, 0
	for seed := range uint64(4 * policyWorlds) {
		w := newWorld(seed)
		plain := w.platform()
		w.policies(t, &plain, w.IntN(3), enforced)
		only, byApplication := w.chance(50), w.chance(50)
		mode := pick(w, v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeShadow)
		some, others := fmt.Sprintf("caller.name == '%s'", pick(w, "n0", "n1", "edge")), v1alpha1.Expression(fmt.Sprintf("caller.name != '%s'", pick(w, "n0", "n1", "edge")))
		if byApplication {
			some, others = fmt.Sprintf("caller.name == '%s'", pick(w, "app0", "app1")), v1alpha1.Expression(fmt.Sprintf("callerNamespace.name == '%s'", pick(w, "n0", "n1")))
		}
		as := func(gives string) model.Input {
			return doubting(plain, mode, only, byApplication, some, gives, others)
		}
		erring := as(failing)
		outcome := compile.Compile(model.NewSnapshot(erring))
		// Of whom a rule that refuses all others is not true, and one that refuses is true, is
		// kept away.
		away := compile.Compile(model.NewSnapshot(as(fmt.Sprint(!only))))
		if got, want := objectsText(t, outcome), objectsText(t, away); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: of whom nobody knows is not kept away alone: %s\n%s", seed, firstDifference(string(want), string(got)), describePolicies(t, erring))
		}
		for _, answer := range []string{"true", "false"} {
			got, example := compareWorlds(t, w, as(answer), erring)
			if got.widened > 0 {
				t.Fatalf("seed %d: an error lets in what %s does not\n%s\n%s", seed, answer, example, describePolicies(t, erring))
			}
			differ += got.narrowed
		}
		for _, f := range outcome.Findings {
			if strings.Contains(f.Message, "rule rule cannot tell whether it means") {
				said++
				if f.Severity != model.SeverityWarning || !strings.Contains(f.Owner, "ClusterPolicyBinding doubting") || f.Fix == "" {
					t.Fatalf("seed %d: %+v", seed, f)
				}
			}
		}
	}
	if differ < policyWorlds || said < policyWorlds {
		t.Errorf("%d requests are refused for an error, and %d times it is said: nothing was shown", differ, said)
	}
}
