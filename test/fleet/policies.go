// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
)

// rule is a policy of the catalog as a fleet binds it.
type rule struct {
	policy string
	mode   v1alpha1.PolicyMode
	tier   v1alpha1.PolicyTier
	// parameters as JSON, by name.
	parameters map[string]string
}

// rules are all policies of the catalog that are about Applications, with parameters that
// the Applications of a fleet meet. What they do not meet is audited or tried, as it
// would be where they are at work.
var rules = []rule{
	{"access-tests-required", v1alpha1.ModeAudit, v1alpha1.TierMandatory, nil},
	{"admin-paths-internal-only", v1alpha1.ModeAudit, v1alpha1.TierMandatory, nil},
	{"allowed-domains", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"domains": `["shop.example.org", "example.com"]`}},
	{"bounded-timeouts", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"callers-from-listed-applications", v1alpha1.ModeAudit, v1alpha1.TierMandatory, map[string]string{"applications": `["team-0000/app-00000", "team-0001/app-00011"]`, "labels": `{"scope": "pci"}`}},
	{"callers-from-listed-namespaces", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"namespaces": `["monitoring", "tools"]`, "labels": `{"exposure": "public"}`}},
	{"callers-name-routes", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"callers-of-same-namespace", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"shared": `["tools", "monitoring"]`}},
	{"cors-origins-allow-list", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"domains": `["example.com"]`}},
	{"exposures-allow-list", v1alpha1.ModeAudit, v1alpha1.TierMandatory, map[string]string{"applications": `["team-0000/*", "team-0001/app-00011"]`}},
	{"isolate-environments", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"environments": `["test"]`}},
	{"login-for-published-routes", v1alpha1.ModeEnforce, v1alpha1.TierDefault, nil},
	{"methods-allow-list", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"mutual-tls-everywhere", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"no-anonymous-routes", v1alpha1.ModeAudit, v1alpha1.TierMandatory, map[string]string{"allowed": `["team-0000/app-00000", "team-0001/app-00011/r0"]`}},
	{"no-any-caller", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"allowed": `["team-0000/app-00000"]`}},
	{"no-host-sharing", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"no-namespace-wide-callers", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"no-raw-paths", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, nil},
	{"no-tcp-ports", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"allowed": `["5432"]`}},
	{"no-waived-authentication", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"allowed": `["monitoring"]`}},
	{"ownership-labels", v1alpha1.ModeEnforce, v1alpha1.TierDefault, map[string]string{"labels": `["exposure"]`}},
	{"scopes-for-writes", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"scopes": `["items.write"]`, "methods": `["DELETE"]`}},
	{"timeouts-stated", v1alpha1.ModeAudit, v1alpha1.TierMandatory, nil},
}

// policies are so many bindings in turn, each about every Application, and what they need.
// From the second turn on they are in Shadow, as is what shall be enforced one day, but
// for what is audited.
func policies(count int) ([]client.Object, error) {
	if count == 0 {
		return nil, nil
	}
	out := []client.Object{bare("monitoring", nil), bare("sandbox", map[string]string{"env": "test"})}
	entries, err := catalog.Embedded()
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string, len(entries))
	for _, e := range entries {
		versions[e.Name()] = e.Template.Spec.Version
		out = append(out, e.Template)
	}
	for i := range count {
		r := rules[i%len(rules)]
		if versions[r.policy] == "" {
			return nil, fmt.Errorf("binding policy %s: the catalog has none of that name", r.policy)
		}
		out = append(out, r.binding(i, versions[r.policy]))
	}
	return out, nil
}

func (r *rule) binding(i int, version string) *v1alpha1.ClusterPolicyBinding {
	out := &v1alpha1.ClusterPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%02d", r.policy, i)},
		Spec: v1alpha1.ClusterPolicyBindingSpec{
			Tier:       r.tier,
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"exposure": "public"}},
			PolicyBindingSpec: v1alpha1.PolicyBindingSpec{
				Policy: v1alpha1.PolicyVersion{Name: v1alpha1.LabelName(r.policy), Version: version},
				Mode:   r.mode, Contact: "security@example.com",
			},
		},
	}
	if i >= len(rules) && r.mode == v1alpha1.ModeEnforce {
		out.Spec.Mode = v1alpha1.ModeShadow
	}
	for _, name := range slices.Sorted(maps.Keys(r.parameters)) {
		out.Spec.Parameters = append(out.Spec.Parameters, v1alpha1.ParameterValue{Name: name, Value: v1alpha1.JSON{Raw: []byte(r.parameters[name])}})
	}
	return out
}

func bare(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}
