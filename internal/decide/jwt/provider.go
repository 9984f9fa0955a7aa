// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"fmt"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
)

// provider is a compiled JwtProvider.
type provider struct {
	name      string
	config    *jwtv3.JwtProvider
	audiences map[string]bool
	subjects  *match.Text // nil: all
	keys      []key
	unread    int // keys that cannot be read here
	// why the keys are not known; empty if they are.
	why string
	// lifetime bounds how long tokens are still valid; 0 is no bound.
	lifetime time.Duration
	skew     uint64 // seconds
}

const defaultSkew = 60 // seconds, of Envoy

func newProviders(in map[string]*jwtv3.JwtProvider) (map[string]*provider, error) {
	out := map[string]*provider{}
	for name, c := range in {
		p := &provider{name: name, config: c, audiences: audienceSet(c.GetAudiences()), skew: uint64(c.GetClockSkewSeconds())}
		if p.skew == 0 {
			p.skew = defaultSkew
		}
		if c.GetSubjects() != nil {
			var err error
			if p.subjects, err = match.NewText(c.GetSubjects()); err != nil {
				return nil, fmt.Errorf("the provider %q: %w", name, err)
			}
		}
		p.lifetime = c.GetMaxLifetime().AsDuration()
		if err := p.readKeys(); err != nil {
			return nil, fmt.Errorf("the provider %q: %w", name, err)
		}
		out[name] = p
	}
	return out, nil
}

// readKeys takes the keys that the configuration holds. Those of a file, of the
// environment or of another server are not known here.
func (p *provider) readKeys() (err error) {
	text := ""
	switch s := p.config.GetLocalJwks().GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		text = s.InlineString
	case *corev3.DataSource_InlineBytes:
		text = string(s.InlineBytes)
	case nil:
		if p.config.GetRemoteJwks() != nil {
			p.why = "the proxy fetches the keys of the JWT provider " + p.name
		}
	default:
		p.why = "the keys of the JWT provider " + p.name + " are outside its configuration"
	}
	if text != "" {
		p.keys, p.unread, err = readKeys(text)
	}
	return err
}

func audienceSet(in []string) map[string]bool {
	out := map[string]bool{}
	for _, a := range in {
		out[audience(a)] = true
	}
	return out
}
