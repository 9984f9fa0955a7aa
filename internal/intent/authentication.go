// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// DefaultScopeClaim is the claim that lists scopes (RFC 8693 section 4.2).
const DefaultScopeClaim = "scope"

func sameAuthentication(a, b *v1alpha1.Authentication) bool {
	normal := func(x *v1alpha1.Authentication) v1alpha1.Authentication {
		if x == nil {
			return v1alpha1.Authentication{Mode: v1alpha1.AuthenticationRequired}
		}
		out := *x
		out.Mode = modeOf(x)
		return out
	}
	return equality.Semantic.DeepEqual(normal(a), normal(b))
}

// requirement resolves what a route asks on the hosts of an ingress. It returns
// false when it cannot be met: the route is then closed there.
func (r *resolver) requirement(route *Route, in *Ingress) (Requirement, bool) {
	at := field(route.Origin, "authentication")
	q := Requirement{Mode: route.Mode, Issuers: issuers(in), Origin: at}
	if route.AuthenticationOrigin != nil {
		q.Origin = *route.AuthenticationOrigin
	}
	if route.Mode == v1alpha1.AuthenticationNone {
		return q, true
	}
	spec := route.Spec.Authentication
	if spec == nil {
		spec = &v1alpha1.Authentication{}
	}
	provider := r.provider(route, spec, in, at)
	if provider == nil {
		return q, false
	}
	q.Issuer = string(provider.Spec.Issuer)
	q.Audiences = stringsOf(provider.Spec.Audiences)
	if len(spec.Audiences) > 0 {
		q.Audiences = stringsOf(spec.Audiences)
		for i, audience := range spec.Audiences {
			if !slices.Contains(provider.Spec.Audiences, audience) {
				r.refuse(field(at, "audiences[%d]", i), refusal{"AudienceNotAllowed",
					fmt.Sprintf("audience %s is not one of %s, which identity provider %s of %s accepts; the route is closed", audience, strings.Join(stringsOf(provider.Spec.Audiences), ", "), provider.Spec.Name, in.Ref),
					in.Ref.String(), "use one of these, or ask the platform to add the audience"})
				return q, false
			}
		}
	}
	q.Scopes, q.ScopeOrigins = stringsOf(spec.Scopes), route.ScopeOrigins
	q.ScopeClaim = DefaultScopeClaim
	if provider.Spec.ScopeClaim != "" {
		q.ScopeClaim = provider.Spec.ScopeClaim
	}
	for i, c := range spec.Claims {
		q.Claims = append(q.Claims, ClaimRequirement{
			Name: string(c.Name), Path: c.Path, AnyOf: stringsOf(c.AnyOf), Origin: field(at, "claims[%d]", i),
		})
	}
	return q, true
}

func issuers(in *Ingress) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(in.Providers)) {
		out = append(out, string(in.Providers[name].Spec.Issuer))
	}
	slices.Sort(out)
	return out
}

// provider finds the identity provider that a route is checked against.
func (r *resolver) provider(route *Route, spec *v1alpha1.Authentication, in *Ingress, at model.Origin) *Provider {
	if spec.Provider != "" {
		if p := in.Providers[string(spec.Provider)]; p != nil {
			return p
		}
		r.refuse(field(at, "provider"), refusal{"ProviderNotFound",
			fmt.Sprintf("%s has no usable identity provider %s (it has %s); route %s is closed there", in.Ref, spec.Provider, providerList(in), route.Name),
			in.Ref.String(), "name one of the ingress's providers, or ask the platform to add it"})
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(in.Providers)) {
		if in.Providers[name].Spec.Default {
			return in.Providers[name]
		}
	}
	r.refuse(at, refusal{"ProviderUnresolved",
		fmt.Sprintf("route %s needs a token, names no provider, and %s marks none as default (it has %s); the route is closed there", route.Name, in.Ref, providerList(in)),
		in.Ref.String(), "set authentication.provider, or authentication.mode: None if nobody needs a login, or ask the platform for a default provider"})
	return nil
}

func providerList(in *Ingress) string {
	list := slices.Sorted(maps.Keys(in.Providers))
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
