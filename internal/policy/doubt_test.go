// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Who is kept away in doubt by the new version and not by the old one loses something.
func TestADoubtOfTheNewVersionAloneIsTrouble(t *testing.T) {
	const ofTest, ofAll, ofNobody = "caller.name == 'test' && caller.labels['none'] == ''", "caller.labels['none'] == ''", "caller.name == 'test'"
	for name, test := range map[string]struct{ before, after, want string }{
		"nobody doubts":                 {ofNobody, ofNobody, "[]"},
		"the old one alone doubts":      {ofAll, ofNobody, "[]"},
		"both doubt of the same":        {ofTest, ofTest, "[]"},
		"the new one doubts of fewer":   {ofAll, ofTest, "[]"},
		"the new one doubts of more":    {ofTest, ofAll, "[Application dev/web (rule)]"},
		"the new one alone doubts":      {ofNobody, ofTest, "[Application dev/web (rule)]"},
		"an old doubt hides no refusal": {ofAll, "constraint", "[Application dev/web (rule)]"},
	} {
		in, _ := rolled(v1alpha1.ModeEnforce)
		for _, tmpl := range in.Policies.Templates {
			text := test.before
			if tmpl.Spec.Version == "2.0.0" {
				text = test.after
			}
			if text == "constraint" {
				tmpl.Spec.Constraints = []v1alpha1.Constraint{{Name: "rule", Subject: v1alpha1.SubjectApplication, Expression: "false", Message: "no"}}
				continue
			}
			tmpl.Spec.Constraints = nil
			tmpl.Spec.Contributions = []v1alpha1.Contribution{{Name: "rule", DenyAccess: &v1alpha1.AccessContribution{From: v1alpha1.Expression(text)}}}
		}
		set := policy.Compile(model.NewSnapshot(in))
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "web"}}
		of := set.Application(app, origin(app))
		all := of.Judge()
		for _, c := range of.Contributions() {
			if j, doubts := of.Doubts(c); doubts {
				all = append(all, j)
			}
		}
		if got := fmt.Sprint(set.Bindings[0].Troubles(all)); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		for _, j := range all {
			if closes := j.Closes() && j.Doubts; closes || j.Doubts && j.Outcome != policy.Unknown {
				t.Errorf("%s: %+v", name, j)
			}
		}
	}
}
