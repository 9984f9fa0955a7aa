// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// userRights is what the chart's roles for people may do, as rights is for the operator.
var userRights = map[string]map[string]string{
	"trellis-application-developer": {
		"applications.trellis.dev":     write,
		"policybindings.trellis.dev":   write,
		"policyexceptions.trellis.dev": write,
	},
	"trellis-platform-operator": {
		"secureingresses.trellis.dev":     write,
		"hostclaims.trellis.dev":          write,
		"dnsproviders.trellis.dev":        write,
		"mutualtlsrollouts.trellis.dev":   write,
		"managedrecords.trellis.dev":      "get list patch watch",
		"managedcertificates.trellis.dev": "get list patch watch",
	},
	"trellis-security-officer": {
		"goals.trellis.dev":                 write,
		"policytemplates.trellis.dev":       write,
		"clusterpolicybindings.trellis.dev": "approve create delete get list patch update watch",
		"policybindings.trellis.dev":        "approve get list watch",
		"policyexceptions.trellis.dev":      "get list patch watch",
		"applications.trellis.dev":          read,
		"secureingresses.trellis.dev":       read,
		"hostclaims.trellis.dev":            read,
		"dnsproviders.trellis.dev":          read,
		"managedrecords.trellis.dev":        read,
		"managedcertificates.trellis.dev":   read,
		"mutualtlsrollouts.trellis.dev":     read,
	},
	"trellis-viewer": {
		"applications.trellis.dev":          read,
		"secureingresses.trellis.dev":       read,
		"dnsproviders.trellis.dev":          read,
		"managedrecords.trellis.dev":        read,
		"managedcertificates.trellis.dev":   read,
		"mutualtlsrollouts.trellis.dev":     read,
		"goals.trellis.dev":                 read,
		"policytemplates.trellis.dev":       read,
		"clusterpolicybindings.trellis.dev": read,
		"policybindings.trellis.dev":        read,
		"policyexceptions.trellis.dev":      read,
	},
}

func TestPeopleHaveExactlyTheRightsOnTheList(t *testing.T) {
	kinds := map[string]bool{}
	objects := render(t)
	for _, d := range only[*apiextensionsv1.CustomResourceDefinition](objects) {
		kinds[d.Name] = true
	}
	roles := map[string][]rbacv1.PolicyRule{}
	for _, role := range only[*rbacv1.ClusterRole](objects) {
		if !strings.HasPrefix(role.Name, "trellis-operator") {
			roles[role.Name] = role.Rules
		}
	}
	if !slices.Equal(slices.Sorted(maps.Keys(roles)), slices.Sorted(maps.Keys(userRights))) {
		t.Fatalf("the chart has the roles %v", slices.Sorted(maps.Keys(roles)))
	}
	for name, want := range userRights {
		got := combined(roles[name])
		if !maps.Equal(got, want) {
			t.Errorf("%s may\n%v, the list says\n%v", name, got, want)
		}
		for resource := range got {
			if !kinds[resource] {
				t.Errorf("%s has rights to %s, which is no kind of the chart", name, resource)
			}
		}
	}
}

// combined are the verbs for each resource, of all rules together.
func combined(rules []rbacv1.PolicyRule) map[string]string {
	out := map[string]string{}
	for _, rule := range rules {
		for resource, verbs := range granted([]rbacv1.PolicyRule{rule}) {
			all := append(strings.Fields(out[resource]), strings.Fields(verbs)...)
			slices.Sort(all)
			out[resource] = strings.Join(slices.Compact(all), " ")
		}
	}
	return out
}

func TestRolesJoinTheClustersOwnWhereAValueSaysSo(t *testing.T) {
	joined := func(values ...string) []string {
		var out []string
		for _, role := range only[*rbacv1.ClusterRole](render(t, values...)) {
			for label := range role.Labels {
				if into, ok := strings.CutPrefix(label, "rbac.authorization.k8s.io/aggregate-to-"); ok {
					out = append(out, role.Name+" "+into)
				}
			}
		}
		slices.Sort(out)
		return out
	}
	if got, want := joined(), []string{
		"trellis-application-developer admin", "trellis-application-developer edit",
		"trellis-viewer admin", "trellis-viewer edit", "trellis-viewer view",
	}; !slices.Equal(got, want) {
		t.Errorf("joined are %v, want %v", got, want)
	}
	if got := joined("roles.aggregate=false"); len(got) > 0 {
		t.Errorf("joined against the value are %v", got)
	}
}

func TestEveryRuleOfARoleForPeopleHasItsReason(t *testing.T) {
	text, err := os.ReadFile(repository + "/charts/trellis/templates/user-roles.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	rules, without := 0, 0
	for i, line := range lines {
		if strings.HasPrefix(line, "- apiGroups:") {
			rules++
			// The rule to patch exceptions goes with the one before.
			if !strings.HasPrefix(lines[i-1], "#") {
				without++
			}
		}
	}
	if rules < 10 || without > 1 {
		t.Errorf("%d of %d rules have no comment", without, rules)
	}
}

func TestGuardsFailClosedAndCanBeLeftOut(t *testing.T) {
	policies := only[*admissionv1.ValidatingAdmissionPolicy](render(t))
	bound := map[string]bool{}
	for _, b := range only[*admissionv1.ValidatingAdmissionPolicyBinding](render(t)) {
		bound[b.Spec.PolicyName] = slices.Equal(b.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) && b.Spec.MatchResources == nil
	}
	if len(policies) != 4 || len(bound) != 4 {
		t.Fatalf("%d policies and %d bindings", len(policies), len(bound))
	}
	for _, p := range policies {
		if *p.Spec.FailurePolicy != admissionv1.Fail || !bound[p.Name] {
			t.Errorf("%s: failure policy %s, bound so that it denies: %t", p.Name, *p.Spec.FailurePolicy, bound[p.Name])
		}
	}
	for _, p := range only[*admissionv1.ValidatingAdmissionPolicy](render(t, "guards.enabled=false")) {
		t.Errorf("%s is there against the value", p.Name)
	}
}
