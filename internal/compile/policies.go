// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
)

// AnnotationDryRun makes Istio count what an AuthorizationPolicy would deny, and deny
// nothing.
const AnnotationDryRun = "istio.io/dry-run"

// accessPolicies make what policies say of callers. It only ever denies, so no policy can
// let in what the Application does not. What is only tried is an object of its own, in
// Istio's dry run.
func (b *builder) accessPolicies(a *intent.Application, owners []model.Reference) {
	var enforced, shadow []rule
	gateways := gatewayPrincipals(a)
	for _, access := range a.AccessRules {
		rules := accessRules(access, gateways)
		if access.Shadow {
			shadow = append(shadow, rules...)
		} else {
			enforced = append(enforced, rules...)
		}
	}
	b.policy(a.Pods.Namespace, applicationName(a.Ref.Name, "-policy"), a.Pods.Selector, securityapi.AuthorizationPolicy_DENY, enforced, owners)
	if len(shadow) == 0 || b.ambient(a) {
		return
	}
	b.finishPolicy(&securityv1.AuthorizationPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.Pods.Namespace, Name: applicationName(a.Ref.Name, "-shadow"),
			Annotations: map[string]string{AnnotationDryRun: "true"},
		},
	}, a.Pods.Selector, securityapi.AuthorizationPolicy_DENY, shadow, owners)
}

// gatewayPrincipals are those through which an Application is published.
func gatewayPrincipals(a *intent.Application) []string {
	var out []string
	for _, in := range a.Ingresses() {
		if in.Identity != nil {
			out = append(out, in.Identity.Principal())
		}
	}
	return sorted(out)
}

// sorted are the texts of lists, each once.
func sorted(lists ...[]string) []string {
	out := slices.Concat(lists...)
	slices.Sort(out)
	return slices.Compact(out)
}

// accessRules refuse namespaces or identities, and whoever has none: that may be one of
// them. Gateways bring the requests of others, and are not refused where only some are let in.
func accessRules(access *intent.AccessRule, gateways []string) []rule {
	nobody := &securityapi.Source{NotPrincipals: []string{present}}
	principals := sorted(access.Principals)
	refused := &securityapi.Source{Namespaces: access.Namespaces, Principals: principals}
	if access.Only {
		refused = &securityapi.Source{NotNamespaces: access.Namespaces, NotPrincipals: sorted(principals, gateways)}
		if len(access.Namespaces)+len(principals)+len(gateways) == 0 {
			// A source without fields is none that Istio takes; everybody is meant.
			return []rule{scope{}.rule(at(&access.Origin), provenance.ReasonPolicy)}
		}
	} else if len(access.Namespaces)+len(principals) == 0 {
		return nil
	}
	s := scope{from: []*securityapi.Rule_From{{Source: refused}}}
	if !access.Only {
		s.from = append(s.from, &securityapi.Rule_From{Source: nobody})
	}
	return []rule{s.rule(at(&access.Origin), provenance.ReasonPolicy)}
}

// ambient reports whether proxies of an Application may be ztunnels. One older than
// Istio 1.29 would enforce what is only tried (istio release note authz-dry-run-ambient).
func (b *builder) ambient(a *intent.Application) bool {
	const label, value = "istio.io/dataplane-mode", "ambient"
	namespace, _ := b.snapshot.Namespace(a.Pods.Namespace)
	if namespace.Labels[label] == value {
		return true
	}
	return slices.ContainsFunc(b.snapshot.Selected(a.Pods.Namespace, a.Pods.Selector), func(w model.Workload) bool {
		return w.Labels[label] == value
	})
}
