// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/trellis-mesh/trellis/test/envoy"
)

func filters(one *hcmv3.HttpFilter) []*hcmv3.HttpFilter {
	if one == nil {
		return nil
	}
	return []*hcmv3.HttpFilter{one}
}

func denies() *hcmv3.HttpFilter {
	return envoy.HTTPFilter("envoy.filters.http.rbac", &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action: rbacconfigv3.RBAC_DENY,
		Policies: map[string]*rbacconfigv3.Policy{"ns[shop]-policy[closed]-rule[0]": {
			Permissions: []*rbacconfigv3.Permission{{Rule: &rbacconfigv3.Permission_Any{Any: true}}},
			Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
		}},
	}})
}

// wantsTokens refuses all tokens, since it has no key for any.
func wantsTokens() *hcmv3.HttpFilter {
	return envoy.HTTPFilter("envoy.filters.http.jwt_authn", &jwtv3.JwtAuthentication{
		Providers: map[string]*jwtv3.JwtProvider{"origin": {
			Issuer: "https://issuer.example.com",
			JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: `{"keys":[{"kty":"oct","alg":"HS256","kid":"a","k":"YQ"}]}`},
			}},
		}},
		Rules: []*jwtv3.RequirementRule{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			RequirementType: &jwtv3.RequirementRule_Requires{Requires: &jwtv3.JwtRequirement{
				RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: "origin"},
			}},
		}},
	})
}

// asks a service behind a cluster whether requests may pass.
func asks(cluster string) *hcmv3.HttpFilter {
	return envoy.HTTPFilter("envoy.filters.http.ext_authz", &extauthzv3.ExtAuthz{
		Services: &extauthzv3.ExtAuthz_HttpService{HttpService: &extauthzv3.HttpService{ServerUri: &corev3.HttpUri{
			Uri: "http://authorizer", Timeout: durationpb.New(5 * time.Second),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		}}},
	})
}

// allowsOne lets one request pass and no second.
func allowsOne() *hcmv3.HttpFilter {
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return envoy.HTTPFilter("envoy.filters.http.local_ratelimit", &ratelimitv3.LocalRateLimit{
		StatPrefix: "rate", FilterEnabled: always, FilterEnforced: always,
		TokenBucket: &typev3.TokenBucket{MaxTokens: 1, FillInterval: durationpb.New(time.Hour)},
	})
}

func fails() *hcmv3.HttpFilter {
	return envoy.HTTPFilter("envoy.filters.http.fault", &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
		ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 503}, Percentage: &typev3.FractionalPercent{Numerator: 100},
	}})
}
