// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"fmt"
	"slices"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// effects are what the contributions of a template changed, of each only what is not so
// without it, and what its assertions ask.
func effects(graph *intent.Graph, snapshot *model.Snapshot, template *v1alpha1.PolicyTemplate) []v1alpha1.ExpectedEffect {
	var out []v1alpha1.ExpectedEffect
	for _, c := range graph.Contributions {
		if c.Binding.Template == nil || c.Binding.Template.Name != template.Name || !c.Holds() {
			continue
		}
		add := func(of model.Origin, effect string) {
			subject := policy.Subject{Origin: of}
			out = append(out, v1alpha1.ExpectedEffect{Contribution: v1alpha1.LabelName(c.Rule), Subject: subject.String(), Effect: effect})
		}
		if c.MinimumVersion != "" {
			if raised(graph, snapshot, c.Subject.Origin.Object) {
				add(c.Subject.Origin, c.Message)
			}
			continue
		}
		for _, a := range graph.Applications {
			if a.Ref == c.Subject.Origin.Object {
				ofApplication(a, c, add)
			}
		}
	}
	return append(out, asserted(graph, template)...)
}

// asserted are what the assertions of a template ask. Whether they hold is asked of
// proxies, which tests of templates do not have.
func asserted(graph *intent.Graph, template *v1alpha1.PolicyTemplate) []v1alpha1.ExpectedEffect {
	var out []v1alpha1.ExpectedEffect
	for _, a := range graph.Assertions {
		if a.Binding.Template.Name == template.Name && a.Holds() && a.Asks() {
			out = append(out, v1alpha1.ExpectedEffect{Contribution: v1alpha1.LabelName(a.Rule), Subject: a.Subject.String(), Effect: a.String()})
		}
	}
	return out
}

// ofApplication adds the effects on an Application and its routes.
func ofApplication(a *intent.Application, c *policy.Contribution, add func(model.Origin, string)) {
	switch {
	case c.Access != nil:
		// Who is kept away may be nobody; who is let in alone may be nobody too.
		if c.Access.Affects() {
			add(a.Origin, c.Message)
		}
	case c.Egress != nil:
		// Of an Application that states its calls each is judged by itself.
		if a.Spec.Access == nil || a.Spec.Access.Calls == nil {
			add(a.Origin, c.Message)
		}
	case c.MutualTLS:
		if a.MutualTLSOrigin != nil {
			add(a.Origin, c.Message)
		}
	default:
		for _, r := range a.Routes {
			if effect := ofRoute(r, c); effect != "" {
				add(r.Origin, effect)
			}
		}
	}
}

// ofRoute is the effect on a route; empty where there is none.
func ofRoute(r *intent.Route, c *policy.Contribution) string {
	if c.Authentication {
		if r.AuthenticationOrigin == nil && !slices.ContainsFunc(c.Scopes, func(scope string) bool { return r.ScopeOrigins[scope] != nil }) {
			return ""
		}
		return c.Message
	}
	if c.Retries != nil {
		if r.Retries == nil {
			return ""
		}
		if *r.Retries == 1 {
			return "is repeated once at the most"
		}
		return fmt.Sprintf("is repeated %d times at the most", *r.Retries)
	}
	var stated time.Duration
	if r.Spec.Timeout != nil {
		stated = r.Spec.Timeout.Duration
	}
	if stated == r.Timeout {
		return ""
	}
	return "has a timeout of " + r.Timeout.String()
}

// raised reports whether an ingress takes another version of TLS than it states.
func raised(graph *intent.Graph, snapshot *model.Snapshot, of model.Reference) bool {
	for _, in := range graph.Ingresses {
		for _, stated := range snapshot.SecureIngresses() {
			if in.Ref == of && stated.Namespace == of.Namespace && stated.Name == of.Name {
				return in.Spec.TLS.MinimumVersion != stated.Spec.TLS.MinimumVersion
			}
		}
	}
	return false
}
