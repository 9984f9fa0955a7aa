// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package posture

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Freedom is how much of a part of a statement is left to whoever states it.
type Freedom string

// The freedoms, the least first.
const (
	// Fixed holds whatever is stated.
	Fixed Freedom = "Fixed"
	// Bounded is free as far as it keeps to what is said.
	Bounded Freedom = "Bounded"
	// Default holds until something else is stated.
	Default Freedom = "Default"
	// Tried holds nothing yet: its policy is in Shadow or Audit.
	Tried Freedom = "Tried"
	// Free is nobody else's to say.
	Free Freedom = "Free"
)

// Bound is what somebody says of one part of an Application.
type Bound struct {
	Part    string  `json:"part"`
	Freedom Freedom `json:"freedom"`
	What    string  `json:"what"`
	// By is who says so, and whom to ask; empty where nobody does.
	By string `json:"by,omitempty"`
}

// The parts of an Application, in the order in which they are shown.
const (
	partHosts          = "hostnames"
	partAuthentication = "authentication"
	partCallers        = "callers"
	partMutualTLS      = "mutual TLS"
	partCalls          = "calls"
	partTimeouts       = "timeouts"
	partRetries        = "retries"
	partRules          = "rules"
)

// Envelope is what an Application may still choose.
func (p *Posture) Envelope(s *model.Snapshot, app *v1alpha1.Application, ref model.Reference) []Bound {
	said := map[string][]Bound{partHosts: hosts(s, app)}
	for _, standing := range p.About(ref) {
		b := standing.Binding
		for _, c := range b.Contributions {
			if c.Subject.Origin.Object == ref {
				part := partOf(c)
				said[part] = append(said[part], Bound{part, freedom(b, held(c)), b.contributed(c), b.String()})
			}
		}
		said[partRules] = append(said[partRules], b.rules(standing.State)...)
	}
	var out []Bound
	for _, part := range []string{partHosts, partAuthentication, partCallers, partCalls, partMutualTLS, partTimeouts} {
		if len(said[part]) == 0 {
			said[part] = []Bound{{Part: part, Freedom: Free, What: "as the Application states"}}
		}
		out = append(out, said[part]...)
	}
	// Applications state nothing about retries, so of these there is only what policies say.
	out = append(out, said[partRetries]...)
	out = append(out, said[partRules]...)
	return append(out, Bound{Part: "everything else", Freedom: Free, What: "as the Application states: ports, routes, paths, methods, tests"})
}

func (b *Binding) contributed(c *policy.Contribution) string {
	if c.Outcome == policy.Exempt {
		return "free by exception: " + c.Message
	}
	return c.Message
}

// freedom is what a binding of a tier and mode leaves.
func freedom(b *Binding, held Freedom) Freedom {
	switch {
	case b.Spec.Mode != v1alpha1.ModeEnforce:
		return Tried
	case !b.Mandatory:
		return Default
	}
	return held
}

// held is what a contribution leaves that holds whatever is stated.
func held(c *policy.Contribution) Freedom {
	if c.Egress != nil {
		return Bounded
	}
	return Fixed
}

func partOf(c *policy.Contribution) string {
	switch {
	case c.Access != nil:
		return partCallers
	case c.MutualTLS:
		return partMutualTLS
	case c.Authentication:
		return partAuthentication
	case c.Egress != nil:
		return partCalls
	case c.Retries != nil:
		return partRetries
	}
	return partTimeouts
}

// rules are what must be true of the Application, in the words of the policy.
func (b *Binding) rules(state v1alpha1.PolicyState) []Bound {
	by := b.String()
	if b.Template == nil || b.Broken != "" {
		return []Bound{{partRules, freedom(b, Fixed), "nothing, until the binding can be applied: " + b.Broken, by}}
	}
	var out []Bound
	for i := range b.Template.Spec.Constraints {
		switch c := &b.Template.Spec.Constraints[i]; c.Subject {
		case v1alpha1.SubjectApplication, v1alpha1.SubjectRoute, v1alpha1.SubjectExposure, v1alpha1.SubjectCaller, v1alpha1.SubjectCall:
			what := b.Template.Spec.Title + "; each " + string(c.Subject) + " is refused of which it holds that " + c.Message
			if state != v1alpha1.StatePassing {
				what += " (now " + strings.ToLower(string(state)) + ")"
			}
			out = append(out, Bound{partRules, freedom(b, Bounded), what, by})
		case v1alpha1.SubjectSecureIngress, v1alpha1.SubjectIstioObject, v1alpha1.SubjectPolicyException:
		}
	}
	for i := range b.Template.Spec.Assertions {
		what := b.Template.Spec.Title + "; it is tested, and does not pass where " + b.Template.Spec.Assertions[i].Message
		out = append(out, Bound{partRules, freedom(b, Bounded), what, by})
	}
	return out
}

// hosts are the names under which a namespace may be published, by the ingresses that
// admit it.
func hosts(s *model.Snapshot, app *v1alpha1.Application) []Bound {
	namespace, _ := s.Namespace(app.Namespace)
	var out []Bound
	for _, in := range s.SecureIngresses() {
		var names []string
		for i := range in.Spec.Applications {
			entry := &in.Spec.Applications[i]
			selector, err := metav1.LabelSelectorAsSelector(&entry.NamespaceSelector)
			if err == nil && selector.Matches(labels.Set(namespace.Labels)) {
				names = append(names, entry.Hostnames...)
			}
		}
		if len(names) == 0 {
			continue
		}
		var domains []string
		for _, d := range in.Spec.Domains {
			domains = append(domains, d.Domain)
		}
		out = append(out, Bound{partHosts, Bounded, strings.Join(names, ", ") + " under " + strings.Join(domains, ", "), s.SecureIngressReference(in.Namespace, in.Name).String()})
	}
	if len(out) == 0 {
		out = []Bound{{partHosts, Fixed, "none: no SecureIngress admits namespace " + app.Namespace, "the platform"}}
	}
	return out
}
