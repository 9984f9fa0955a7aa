// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/compile/provenance"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// checkFindings holds every finding to what a person needs to act on it.
func checkFindings(t *testing.T, findings []model.Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Owner == "" || f.Fix == "" || f.Message == "" || f.Reason == "" || f.Object.Name == "" || f.Position.Line == 0 {
			t.Errorf("a finding must say what, why, whose, where and what to do: %+v", f)
		}
		if f.Severity != model.SeverityError && f.Severity != model.SeverityWarning {
			t.Errorf("severity %q of %+v", f.Severity, f)
		}
	}
}

// checkObjects holds everything that is generated to what must be true of all of
// it, whatever was stated.
func checkObjects(t *testing.T, outcome *compile.Outcome) {
	t.Helper()
	if outcome.Err != nil {
		t.Error(outcome.Err)
	}
	seen := make(map[model.Reference]bool)
	phase := 0
	for _, o := range outcome.Objects {
		if seen[o.Ref] {
			t.Errorf("%s is generated twice", o.Ref)
		}
		seen[o.Ref] = true
		if p := compile.Phase(o.Ref.Kind); p < phase {
			t.Errorf("%s comes after objects that depend on it", o.Ref)
		} else {
			phase = p
		}
		if len(o.Owners) == 0 {
			t.Errorf("%s has no owner", o.Ref)
		}
		checkMetadata(t, o)
		checkStamps(t, outcome, o)
		checkRules(t, outcome, o)
	}
}

func checkMetadata(t *testing.T, o compile.Object) {
	t.Helper()
	if problems := validation.IsDNS1123Subdomain(o.Ref.Name); len(problems) > 0 {
		t.Errorf("%s: no API server takes the name: %v", o.Ref, problems)
	}
	labels := o.Value.GetLabels()
	if labels[compile.LabelManagedBy] != compile.ManagedBy {
		t.Errorf("%s is not labelled as ours", o.Ref)
	}
	for key, value := range labels {
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			t.Errorf("%s: label %s=%s: %v", o.Ref, key, value, problems)
		}
	}
	size := 0
	for key, value := range o.Value.GetAnnotations() {
		size += len(key) + len(value)
	}
	if size > 256<<10 {
		t.Errorf("%s: %d bytes of annotations, Kubernetes takes 256 KiB", o.Ref, size)
	}
}

// checkStamps: each generated rule belongs to exactly one statement and has
// exactly one reason.
func checkStamps(t *testing.T, outcome *compile.Outcome, o compile.Object) {
	t.Helper()
	p, ok := provenanceOf(t, outcome, o)
	if !ok {
		switch o.Value.(type) {
		case *v1alpha1.HostClaim, *corev1.ConfigMap:
		default:
			t.Errorf("%s does not say where it came from", o.Ref)
		}
		return
	}
	if want := len(ruleNames(o)); len(p.Rules) != want {
		t.Errorf("%s: %d rules and %d stamps", o.Ref, want, len(p.Rules))
	}
	for i := range p.Rules {
		object, _, reason, ok := p.Rule(i)
		if !ok || object == "" || reason == "" || p.Rules[i].Layer == "" {
			t.Errorf("%s: stamp %d is not complete", o.Ref, i)
		}
	}
}

// checkRules: no rule is about everything by leaving out what it is about.
func checkRules(t *testing.T, outcome *compile.Outcome, o compile.Object) {
	t.Helper()
	policy, ok := o.Value.(*securityv1.AuthorizationPolicy)
	if !ok {
		return
	}
	for i, r := range policy.Spec.Rules {
		if len(r.To) == 0 && !byPolicy(t, outcome, o, i) && !closed(outcome, o) {
			t.Errorf("%s rule %d is about every request of the pods", o.Ref, i)
		}
		for _, to := range r.To {
			if len(to.Operation.Paths)+len(to.Operation.Ports)+len(to.Operation.Hosts) == 0 {
				t.Errorf("%s rule %d has an operation about every request of the pods", o.Ref, i)
			}
		}
		for _, from := range r.From {
			s := from.Source
			if len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) == 0 {
				t.Errorf("%s rule %d has an empty source, which is everybody", o.Ref, i)
			}
		}
	}
	if len(policy.Spec.GetSelector().GetMatchLabels()) == 0 {
		t.Errorf("%s selects every workload of the namespace", o.Ref)
	}
}

// byPolicy reports whether a rule denies in the name of a policy. Those may be about every
// request of the pods.
func byPolicy(t *testing.T, outcome *compile.Outcome, o compile.Object, rule int) bool {
	t.Helper()
	p, _ := provenanceOf(t, outcome, o)
	object, _, reason, ok := p.Rule(rule)
	policy, _ := o.Value.(*securityv1.AuthorizationPolicy)
	return ok && reason == provenance.ReasonPolicy && strings.Contains(object, "PolicyBinding ") && policy.Spec.Action == securityapi.AuthorizationPolicy_DENY
}

// closed reports whether a policy is the one that refuses everything at an Application
// that is closed: nothing is allowed beside it.
func closed(outcome *compile.Outcome, o compile.Object) bool {
	name, ok := strings.CutSuffix(o.Ref.Name, "-deny")
	return ok && slices.ContainsFunc(outcome.Objects, func(other compile.Object) bool {
		allow, is := other.Value.(*securityv1.AuthorizationPolicy)
		return is && other.Ref.Namespace == o.Ref.Namespace && other.Ref.Name == name+"-allow" && len(allow.Spec.Rules) == 0
	})
}

// ruleNames are the names of an object's rules, in order, as proxies log them.
func ruleNames(o compile.Object) []string {
	var out []string
	add := func(format string, arguments ...any) { out = append(out, fmt.Sprintf(format, arguments...)) }
	switch v := o.Value.(type) {
	case *securityv1.AuthorizationPolicy:
		for i := range v.Spec.Rules {
			add("ns[%s]-policy[%s]-rule[%d]", v.Namespace, v.Name, i)
		}
	case *networkingv1.VirtualService:
		for i, r := range v.Spec.Http {
			var paths []string
			for _, m := range r.Match {
				if m.Uri != nil && !slices.Contains(paths, uriText(m.Uri)) {
					paths = append(paths, uriText(m.Uri))
				}
			}
			add("%s entry %d %s %v", o.Ref, i, r.Name, paths)
		}
	case *networkingv1.Gateway:
		for _, s := range v.Spec.Servers {
			add("%s server %s", o.Ref, s.Name)
		}
	case *securityv1.RequestAuthentication:
		for _, r := range v.Spec.JwtRules {
			add("%s issuer %s", o.Ref, r.Issuer)
		}
	case *networkingv1.Sidecar:
		for _, e := range v.Spec.Egress {
			for _, host := range e.Hosts {
				add("%s host %s", o.Ref, host)
			}
		}
	case *networkingv1.ServiceEntry:
		for _, p := range v.Spec.Ports {
			add("%s port %s", o.Ref, p.Name)
		}
	case *securityv1.PeerAuthentication, *networkingv1.DestinationRule, *networkingv1alpha3.EnvoyFilter, *v1alpha1.ManagedCertificate, *v1alpha1.ManagedRecord, *delegation.Certificate, *delegation.DNSEndpoint:
		add("%s", o.Ref)
	}
	return out
}

func uriText(m *networkingapi.StringMatch) string {
	switch u := m.MatchType.(type) {
	case *networkingapi.StringMatch_Exact:
		return u.Exact
	case *networkingapi.StringMatch_Prefix:
		return u.Prefix + "*"
	case *networkingapi.StringMatch_Regex:
		return "~" + u.Regex
	}
	return ""
}
