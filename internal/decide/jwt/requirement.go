// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
)

// requirement is a node of a compiled tree of requirements.
type requirement interface {
	verify(*verification) status
}

// anyOf is met by the first that is; else the answer is the last that says more
// than that the token is of nobody or missing.
type anyOf struct {
	list []requirement
	// optional: that no token is there is enough; lax: anything is.
	optional, lax bool
}

// allOf is met by all; else the answer is that of the first one that is not.
type allOf []requirement

// nothing is always met.
type nothing struct{}

func (nothing) verify(*verification) status { return ok }

func (rs allOf) verify(v *verification) status {
	for _, r := range rs {
		if s := r.verify(v); s != ok {
			return s
		}
	}
	return ok
}

func (a *anyOf) verify(v *verification) status {
	out := missing
	for _, r := range a.list {
		s := r.verify(v)
		if s == ok || s == undecided {
			return s
		}
		if out == missing || s != missing && s != unknownIssuer {
			out = s
		}
	}
	if a.lax || a.optional && out == missing {
		return ok
	}
	return out
}

// maximumDepth bounds how deep requirements are nested.
const maximumDepth = 100

var errDeep = fmt.Errorf("requirements are nested deeper than %d", maximumDepth)

// builder compiles requirements.
type builder struct{ providers map[string]*provider }

func (b *builder) requirement(r *jwtv3.JwtRequirement, depth int) (requirement, error) {
	if depth > maximumDepth {
		return nil, errDeep
	}
	switch t := r.GetRequiresType().(type) {
	case *jwtv3.JwtRequirement_ProviderName:
		return b.provider(t.ProviderName, nil)
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		return b.provider(t.ProviderAndAudiences.GetProviderName(), t.ProviderAndAudiences.GetAudiences())
	case *jwtv3.JwtRequirement_RequiresAny:
		return b.any(t.RequiresAny.GetRequirements(), depth)
	case *jwtv3.JwtRequirement_RequiresAll:
		if len(t.RequiresAll.GetRequirements()) < 2 {
			return nil, errFew
		}
		var out allOf
		for _, one := range t.RequiresAll.GetRequirements() {
			r, err := b.requirement(one, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, nil
	case *jwtv3.JwtRequirement_AllowMissing:
		return b.optional(slices.Sorted(maps.Keys(b.providers)), false), nil
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return b.optional(slices.Sorted(maps.Keys(b.providers)), true), nil
	case nil:
		return nothing{}, nil
	}
	return unsupported{}, nil
}

var errFew = errors.New("there are less than two alternatives, and Envoy refuses that")

// unsupported is a requirement that this package does not know.
type unsupported struct{}

func (unsupported) verify(v *verification) status {
	return v.cannot("a JWT requirement is of a kind that is not known here")
}

// any compiles alternatives. That none is needed counts after them, and verifies
// tokens only where it is alone; of two such the laxer counts.
func (b *builder) any(rs []*jwtv3.JwtRequirement, depth int) (requirement, error) {
	if len(rs) < 2 {
		return nil, errFew
	}
	out := &anyOf{}
	for _, one := range rs {
		switch one.GetRequiresType().(type) {
		case *jwtv3.JwtRequirement_AllowMissing:
			out.optional = true
			continue
		case *jwtv3.JwtRequirement_AllowMissingOrFailed:
			out.lax = true
			continue
		}
		r, err := b.requirement(one, depth+1)
		if err != nil {
			return nil, err
		}
		out.list = append(out.list, r)
	}
	if len(out.list) == 0 {
		return b.optional(slices.Sorted(maps.Keys(b.providers)), out.lax), nil
	}
	return out, nil
}

func (b *builder) provider(name string, audiences []string) (requirement, error) {
	p, known := b.providers[name]
	if !known {
		return nil, fmt.Errorf("the provider %q does not exist", name)
	}
	out := &authenticator{single: p, places: newPlaces([]*provider{p}), audiences: p.audiences, all: b.providers}
	if len(audiences) > 0 {
		out.audiences = audienceSet(audiences)
	}
	return out, nil
}

// optional verifies tokens where they are, of any provider that fits.
func (b *builder) optional(names []string, lax bool) requirement {
	var ps []*provider
	for _, n := range names {
		ps = append(ps, b.providers[n])
	}
	return &authenticator{places: newPlaces(ps), all: b.providers, allowMissing: true, allowFailed: lax}
}
