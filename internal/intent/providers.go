// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// resolveProviders collects the identity providers whose tokens an Application's
// own proxy checks: those of all its ingresses. An issuer that two of them state
// with different keys is left out, and the routes that need its tokens are
// closed: the proxy could not tell which key to trust for which host.
func (r *resolver) resolveProviders(a *Application) {
	first := make(map[v1alpha1.ClaimValue]*Provider)
	conflict := make(map[string]bool)
	for _, in := range a.Ingresses() {
		for _, name := range slices.Sorted(maps.Keys(in.Providers)) {
			p := in.Providers[name]
			o, known := first[p.Spec.Issuer]
			if !known {
				first[p.Spec.Issuer] = p
			} else if o.Spec.JWKS != p.Spec.JWKS || o.Spec.JWKSURI != p.Spec.JWKSURI {
				conflict[string(p.Spec.Issuer)] = true
			}
			if !slices.ContainsFunc(a.Providers, func(o *Provider) bool { return sameTokens(o.Spec, p.Spec) }) {
				a.Providers = append(a.Providers, p)
			}
		}
	}
	if len(conflict) == 0 {
		return
	}
	a.Providers = slices.DeleteFunc(a.Providers, func(p *Provider) bool { return conflict[string(p.Spec.Issuer)] })
	for _, p := range a.Publications {
		if p.Closed || !conflict[p.Requirement.Issuer] {
			continue
		}
		p.Closed = true
		r.refuse(p.Origin, refusal{"IssuerConflict",
			fmt.Sprintf("issuer %s is stated with different keys by %s, and the Application's own proxy checks the tokens of both; route %s is closed", p.Requirement.Issuer, names(a.Ingresses()), p.Route.Name),
			names(a.Ingresses()), "publish the Application through one of them, or ask the platform to state the same jwksURI or jwks in both"})
	}
}

// checks reports whether the Application's proxy can check the tokens that a
// requirement asks for.
func (a *Application) checks(q Requirement) bool {
	return q.Mode == v1alpha1.AuthenticationNone ||
		slices.ContainsFunc(a.Providers, func(p *Provider) bool { return string(p.Spec.Issuer) == q.Issuer })
}

// sameTokens reports whether a proxy checks the tokens of two providers alike.
// What differs besides is for the authorization rules.
func sameTokens(a, b *v1alpha1.IdentityProvider) bool {
	return a.Issuer == b.Issuer && a.JWKS == b.JWKS && a.JWKSURI == b.JWKSURI &&
		a.ScopeClaim == b.ScopeClaim && equality.Semantic.DeepEqual(a.TokenSources, b.TokenSources)
}
