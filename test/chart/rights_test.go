// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	read  = "get list watch"
	write = "create delete get list patch update watch"
)

// rights is everything that the operator may do: role, then resource with its
// group and names, then verbs. A change of the chart's roles has to change this
// list too, where a reviewer sees what it comes to.
var rights = map[string]map[string]string{
	"ClusterRole trellis-operator": {
		"applications.trellis.dev":                       read,
		"secureingresses.trellis.dev":                    read,
		"applications.trellis.dev/status":                "patch",
		"secureingresses.trellis.dev/status":             "patch",
		"mutualtlsrollouts.trellis.dev":                  read,
		"mutualtlsrollouts.trellis.dev/status":           "patch",
		"goals.trellis.dev":                              read,
		"goals.trellis.dev/status":                       "patch",
		"policytemplates.trellis.dev":                    read,
		"policytemplates.trellis.dev/status":             "patch",
		"clusterpolicybindings.trellis.dev":              read,
		"clusterpolicybindings.trellis.dev/status":       "patch",
		"policybindings.trellis.dev":                     read,
		"policybindings.trellis.dev/status":              "patch",
		"policyexceptions.trellis.dev":                   read,
		"policyexceptions.trellis.dev/status":            "patch",
		"hostclaims.trellis.dev/status":                  "patch",
		"hostclaims.trellis.dev":                         write,
		"dnsproviders.trellis.dev":                       "get list patch watch",
		"managedrecords.trellis.dev":                     write,
		"managedcertificates.trellis.dev":                write,
		"dnsproviders.trellis.dev/status":                "patch",
		"managedrecords.trellis.dev/status":              "patch",
		"managedcertificates.trellis.dev/status":         "patch",
		"gateways.networking.istio.io":                   write,
		"virtualservices.networking.istio.io":            write,
		"destinationrules.networking.istio.io":           write,
		"envoyfilters.networking.istio.io":               write,
		"sidecars.networking.istio.io":                   write,
		"serviceentries.networking.istio.io":             write,
		"workloadentries.networking.istio.io":            read,
		"authorizationpolicies.security.istio.io":        write,
		"requestauthentications.security.istio.io":       write,
		"peerauthentications.security.istio.io":          write,
		"namespaces":                                     read,
		"pods":                                           read,
		"services":                                       read,
		"clusterissuers.cert-manager.io":                 read,
		"reports.openreports.io":                         write,
		"customresourcedefinitions.apiextensions.k8s.io": read,
		"events":               "create patch",
		"events.events.k8s.io": "create patch",
		"validatingwebhookconfigurations.admissionregistration.k8s.io trellis": "get list update watch",
	},
	"Role trellis-system/trellis-operator": {
		"leases.coordination.k8s.io":                  "create",
		"leases.coordination.k8s.io trellis-operator": "get update",
		"secrets": "create",
		"secrets trellis-probe,trellis-webhook,trellis-acme-accounts": "get list update watch",
		"configmaps":                     "create",
		"configmaps trellis-acme-ledger": "get update",
		"configmaps istio-ca-root-cert":  read,
	},
	"Role istio-system/trellis-operator-mesh": {
		"configmaps istio": read,
	},
	"Role istio-ingress/trellis-operator-gateway": {
		"secrets":                         "create delete get list update watch",
		"configmaps":                      write,
		"certificates.cert-manager.io":    write,
		"dnsendpoints.externaldns.k8s.io": write,
		"issuers.cert-manager.io":         read,
	},
}

func TestOperatorHasExactlyTheRightsOnTheList(t *testing.T) {
	roles := operatorRoles(t, render(t))
	for name, want := range rights {
		got := granted(roles[name])
		for _, resource := range slices.Sorted(maps.Keys(want)) {
			if got[resource] != want[resource] {
				t.Errorf("%s may %q %s, the list says %q", name, got[resource], resource, want[resource])
			}
			delete(got, resource)
		}
		for resource, verbs := range got {
			t.Errorf("%s may %q %s, which is not on the list", name, verbs, resource)
		}
		delete(roles, name)
	}
	for name := range roles {
		t.Errorf("the operator is bound to %s, which is not on the list", name)
	}
}

func TestNobodyIsGivenAWildcard(t *testing.T) {
	for name, rules := range allRoles(render(t, withServer)) {
		for _, rule := range rules {
			for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs) {
				if strings.Contains(word, "*") {
					t.Errorf("%s has the wildcard %q", name, word)
				}
			}
		}
	}
}

func TestNobodyMayGiveRightsOrActAsSomebodyElse(t *testing.T) {
	for name, rules := range allRoles(render(t, withServer)) {
		for _, rule := range rules {
			for _, verb := range []string{"bind", "escalate", "impersonate", "approve", "override"} {
				if slices.Contains(rule.Verbs, verb) && !approves(name, rule) {
					t.Errorf("%s may %s", name, verb)
				}
			}
			if slices.Contains(rule.APIGroups, "rbac.authorization.k8s.io") || slices.Contains(rule.Resources, "serviceaccounts/token") {
				t.Errorf("%s reaches %v", name, rule)
			}
		}
	}
}

// approves reports whether a rule is about exceptions from policies, which officers approve.
func approves(role string, rule rbacv1.PolicyRule) bool {
	return role == "ClusterRole trellis-security-officer" && slices.Equal(rule.Verbs, []string{"approve"}) &&
		slices.Equal(rule.APIGroups, []string{"trellis.dev"}) && slices.Equal(rule.Resources, []string{"clusterpolicybindings", "policybindings"})
}

func TestOtherSecretsAreReachableInGatewayNamespacesOnly(t *testing.T) {
	for name, rules := range operatorRoles(t, render(t, `gatewayNamespaces=["a","b"]`)) {
		for _, rule := range rules {
			if !slices.Contains(rule.Resources, "secrets") || slices.Equal(rule.Verbs, []string{"create"}) || len(rule.ResourceNames) > 0 {
				continue
			}
			if name != "Role a/trellis-operator-gateway" && name != "Role b/trellis-operator-gateway" {
				t.Errorf("%s reaches Secrets", name)
			}
		}
	}
}

func TestOperatorWithoutWebhookHasNoRightsForOne(t *testing.T) {
	for name, rules := range operatorRoles(t, render(t, "webhook.enabled=false")) {
		for _, rule := range rules {
			if slices.Contains(rule.APIGroups, "admissionregistration.k8s.io") {
				t.Errorf("%s: %v", name, rule)
			}
		}
	}
}

func TestWithoutReportsThereIsNoRightToThem(t *testing.T) {
	const off = "reports.openReports=false"
	for name, rules := range operatorRoles(t, render(t, off)) {
		if granted(rules)["reports.openreports.io"] != "" {
			t.Errorf("%s may write reports", name)
		}
	}
	for values, want := range map[string]string{off: "--open-reports=false", "reports.openReports=true": "--open-reports=true"} {
		arguments := theOnly[*appsv1.Deployment](t, render(t, values)).Spec.Template.Spec.Containers[0].Args
		if !slices.Contains(arguments, want) {
			t.Errorf("with %s the operator is told %q", values, arguments)
		}
	}
}

// allRoles returns the rules of every role that the chart renders.
func allRoles(objects []client.Object) map[string][]rbacv1.PolicyRule {
	roles := map[string][]rbacv1.PolicyRule{}
	for _, role := range only[*rbacv1.ClusterRole](objects) {
		roles["ClusterRole "+role.Name] = role.Rules
	}
	for _, role := range only[*rbacv1.Role](objects) {
		roles["Role "+role.Namespace+"/"+role.Name] = role.Rules
	}
	return roles
}

// operatorRoles are those that a binding gives to the operator's account. Every
// binding of the chart must be for that account and point to a role of the chart.
func operatorRoles(t *testing.T, objects []client.Object) map[string][]rbacv1.PolicyRule {
	t.Helper()
	all, bound := allRoles(objects), map[string][]rbacv1.PolicyRule{}
	bind := func(role string, subjects []rbacv1.Subject) {
		want := rbacv1.Subject{Kind: "ServiceAccount", Name: "trellis-operator", Namespace: namespace}
		if !slices.Equal(subjects, []rbacv1.Subject{want}) {
			t.Errorf("the binding of %s is for %v", role, subjects)
		}
		rules, ok := all[role]
		if !ok {
			t.Errorf("a binding points to %s, which the chart does not render", role)
		}
		bound[role] = rules
	}
	for _, binding := range only[*rbacv1.ClusterRoleBinding](objects) {
		bind(binding.RoleRef.Kind+" "+binding.RoleRef.Name, binding.Subjects)
	}
	for _, binding := range only[*rbacv1.RoleBinding](objects) {
		bind(binding.RoleRef.Kind+" "+binding.Namespace+"/"+binding.RoleRef.Name, binding.Subjects)
	}
	return bound
}

// granted flattens rules to resource[.group][/subresource][ names] and its verbs.
func granted(rules []rbacv1.PolicyRule) map[string]string {
	flat := map[string]string{}
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				name, subresource, _ := strings.Cut(resource, "/")
				if group != "" {
					name += "." + group
				}
				if subresource != "" {
					name += "/" + subresource
				}
				if len(rule.ResourceNames) > 0 {
					name += " " + strings.Join(rule.ResourceNames, ",")
				}
				flat[name] = strings.Join(slices.Sorted(slices.Values(rule.Verbs)), " ")
			}
		}
	}
	return flat
}
