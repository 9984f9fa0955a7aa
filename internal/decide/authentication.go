// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/trellis-mesh/trellis/internal/decide/jwt"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// compileJWT is the filter that looks at tokens.
func (f *httpFilter) compileJWT(config *anypb.Any) error {
	m := &jwtv3.JwtAuthentication{}
	if err := config.UnmarshalTo(m); err != nil {
		return err
	}
	unfetch(m)
	filter, err := jwt.New(m)
	if err != nil {
		return err
	}
	f.run = authenticate(filter, nil)
	f.override = func(config *anypb.Any) (func(*exchange) *Verdict, error) {
		m := &jwtv3.PerRouteConfig{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, err
		}
		return authenticate(filter, jwt.NewRoute(m)), nil
	}
	return nil
}

// unfetch gives providers whose keys the source did not fetch the form that they
// would have if Envoy fetched them: the claims of a token that exists in the
// question only are looked at, and a real one's signature is not known.
func unfetch(m *jwtv3.JwtAuthentication) {
	for _, p := range m.GetProviders() {
		from, ok := xds.KeysToFetch(p.GetLocalJwks().GetInlineString())
		if !ok {
			continue
		}
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{HttpUri: &corev3.HttpUri{
			Uri: from, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: "istiod"}, Timeout: durationpb.New(time.Second),
		}}}
	}
}

func authenticate(filter *jwt.Filter, route *jwt.Route) func(*exchange) *Verdict {
	const rule = "envoy.filters.http.jwt_authn"
	return func(x *exchange) *Verdict {
		switch v := filter.Decide(x.s, route, x.walk.q.At); v.Outcome {
		case jwt.Unknown:
			return x.unknown("%s", v.Why)
		case jwt.Denied:
			x.walk.add(Step{Proxy: x.p.name, Stage: StageFilter, Rule: rule, Says: "refuses the token: " + v.Reason, Stops: true})
			return x.end(Verdict{Outcome: Deny, Reply: &stream.Reply{Code: v.Status, Details: v.Details, Body: v.Reason}})
		case jwt.Allowed:
			x.reroute = v.Reroute
		}
		return nil
	}
}
