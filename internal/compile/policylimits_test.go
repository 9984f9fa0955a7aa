// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// What no API server takes would leave what was there before: so policies of a team, which
// are in one object with those of the cluster, could keep a new one of these away.
func TestRulesOfPoliciesAreNeverMoreThanAnAPIServerTakes(t *testing.T) {
	in := callWorld(rand.New(rand.NewPCG(1, 1)))
	for i := range 400 {
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: fmt.Sprintf("%s-%03d", strings.Repeat("n", 40), i)})
	}
	far := &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: "far-1.0.0"}}
	far.Spec.Policy, far.Spec.Version, far.Spec.Title, far.Spec.Remediation.Text = "far", "1.0.0", "far", "meet it"
	far.Spec.Contributions = []v1alpha1.Contribution{{Name: "far", DenyAccess: &v1alpha1.AccessContribution{From: "caller.name.startsWith('nnn')"}}}
	in.Policies.Templates = append(in.Policies.Templates, far)
	for i := range 100 {
		b := &v1alpha1.PolicyBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "app0", Name: fmt.Sprintf("b%02d", i)}}
		b.Spec.Policy, b.Spec.Mode = v1alpha1.PolicyVersion{Name: "far", Version: "1.0.0"}, v1alpha1.ModeEnforce
		in.Policies.Bindings = append(in.Policies.Bindings, b)
	}
	outcome := compile.Compile(model.NewSnapshot(in))
	found := false
	for _, o := range outcome.Objects {
		if p, ok := o.Value.(*securityv1.AuthorizationPolicy); ok && p.Namespace == "app0" && strings.HasSuffix(p.Name, "-policy") {
			found = true
			if size := len(objectsText(t, &compile.Outcome{Objects: []compile.Object{o}})); size > 1<<20 {
				t.Errorf("%s takes %d KiB", o.Ref, size>>10)
			}
		}
	}
	closed := 0
	for _, f := range outcome.Findings {
		if f.Reason == "PolicyBroken" && f.Object.Namespace == "app0" && strings.Contains(f.Message, "it is closed") {
			closed++
		}
	}
	if !found || closed == 0 {
		t.Errorf("an object of rules is there: %v; it is said %d times that an Application is closed: %s", found, closed, findingsOf(outcome))
	}
}
