// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/jwt"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

var now = time.Unix(1_800_000_000, 0)

// fetched is what Istio makes of one issuer whose keys the proxy fetches.
const fetched = `{"providers":{"p":{"issuer":"a","audiences":["web"],"payloadInMetadata":"payload",
	"remoteJwks":{"httpUri":{"uri":"https://a/keys","cluster":"c","timeout":"1s"}},
	"normalizePayloadInMetadata":{"spaceDelimitedClaims":["scope"]},"claimToHeaders":[{"headerName":"x-sub","claimName":"sub"}]}},
	"rules":[{"match":{"prefix":"/"},"requires":{"requiresAny":{"requirements":[{"providerName":"p"},{"allowMissing":{}}]}}}]}`

func compile(t testing.TB, text string) *jwt.Filter {
	t.Helper()
	config := &jwtv3.JwtAuthentication{}
	if err := protojson.Unmarshal([]byte(text), config); err != nil {
		t.Fatal(err)
	}
	f, err := jwt.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func request(bearer string, tokens map[string]*stream.Token) *stream.Stream {
	s := &stream.Stream{
		Connection: &stream.Connection{DirectRemote: netip.MustParseAddrPort("127.0.0.1:1")}, Tokens: tokens,
		Headers: stream.NewHeaders(stream.Header{Name: ":path", Value: "/"}, stream.Header{Name: ":method", Value: "GET"}),
	}
	if bearer != "" {
		s.Headers.Add("authorization", "Bearer "+bearer)
	}
	return s
}

func claims(t testing.TB, in map[string]any) *structpb.Struct {
	t.Helper()
	out, err := structpb.NewStruct(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnAbstractTokenIsDecidedWithoutKeys(t *testing.T) {
	good := map[string]any{"iss": "a", "aud": "web", "sub": "user", "scope": "read write"}
	with := func(name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range good {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for _, c := range []struct {
		name    string
		token   *stream.Token
		status  int
		details string
	}{
		{"good", &stream.Token{Claims: claims(t, good)}, 0, ""},
		{"forged", &stream.Token{Claims: claims(t, good), Forged: true}, 401, "jwt_authn_access_denied{Jwt_verification_fails}"},
		{"expired", &stream.Token{Claims: claims(t, good), Expired: true}, 401, "jwt_authn_access_denied{Jwt_is_expired}"},
		{"expired by its claim", &stream.Token{Claims: claims(t, with("exp", now.Unix()-61))}, 401, "jwt_authn_access_denied{Jwt_is_expired}"},
		{"expired within the skew", &stream.Token{Claims: claims(t, with("exp", now.Unix()-60))}, 0, ""},
		{"not valid yet", &stream.Token{Claims: claims(t, with("nbf", now.Unix()+61))}, 401, "jwt_authn_access_denied{Jwt_not_yet_valid}"},
		{"of another issuer", &stream.Token{Claims: claims(t, with("iss", "b"))}, 401, "jwt_authn_access_denied{Jwt_issuer_is_not_configured}"},
		{"for another audience", &stream.Token{Claims: claims(t, with("aud", "x"))}, 403, "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}"},
		{"without claims", &stream.Token{}, 401, "jwt_authn_access_denied{Jwt_issuer_is_not_configured}"},
	} {
		s := request("token-1", map[string]*stream.Token{"token-1": c.token})
		v := compile(t, fetched).Decide(s, nil, now)
		if v.Status != c.status || v.Details != c.details || v.Outcome == jwt.Unknown {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestAGoodTokenIsWrittenDownAndTakenOut(t *testing.T) {
	s := request("token-1", map[string]*stream.Token{"token-1": {Claims: claims(t, map[string]any{"iss": "a", "aud": "web", "sub": "user", "scope": "read write"})}})
	s.Headers.Add("x-sub", "forged")
	if v := compile(t, fetched).Decide(s, nil, now); v.Outcome != jwt.Allowed {
		t.Fatalf("verdict: %+v", v)
	}
	want := map[string]any{"payload": map[string]any{"iss": "a", "aud": "web", "sub": "user", "scope": []any{"read", "write"}}}
	if got := s.Metadata.Of("envoy.filters.http.jwt_authn").AsMap(); !reflect.DeepEqual(got, want) {
		t.Errorf("metadata: %v", got)
	}
	if values := s.Headers.Values("x-sub"); len(values) != 1 || values[0] != "user" {
		t.Errorf("header of a claim: %q", values)
	}
	if _, there := s.Headers.Get("authorization"); there {
		t.Error("the token goes on to the upstream")
	}
}

func TestARealTokenWhoseKeysAreFetchedIsUnknown(t *testing.T) {
	const real = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIiwiYXVkIjoid2ViIn0.AAAA"
	if v := compile(t, fetched).Decide(request(real, nil), nil, now); v.Outcome != jwt.Unknown || v.Why == "" {
		t.Errorf("verdict: %+v", v)
	}
	// What is wrong without any key is known.
	if v := compile(t, fetched).Decide(request("nonsense", nil), nil, now); v.Outcome != jwt.Denied {
		t.Errorf("verdict on nonsense: %+v", v)
	}
	if v := compile(t, fetched).Decide(request("", nil), nil, now); v.Outcome != jwt.Allowed {
		t.Errorf("verdict without a token: %+v", v)
	}
}

func TestWhichOfTwoProvidersOfAnIssuerIsChance(t *testing.T) {
	f := compile(t, `{"providers":{"p":{"issuer":"a"},"q":{"issuer":"a"}},"rules":[{"match":{"prefix":"/"},"requires":{"allowMissing":{}}}]}`)
	s := request("token-1", map[string]*stream.Token{"token-1": {Claims: claims(t, map[string]any{"iss": "a"})}})
	if v := f.Decide(s, nil, now); v.Outcome != jwt.Unknown || v.Why == "" {
		t.Errorf("verdict: %+v", v)
	}
}

func FuzzConfigurationsAndTokensNeverPanic(f *testing.F) {
	m := &jwtv3.JwtAuthentication{}
	if err := protojson.Unmarshal([]byte(fetched), m); err != nil {
		f.Fatal(err)
	}
	encoded, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{"a.b.c", "e30.e30.e30", "eyJhbGciOiJFUzI1NiJ9.e30.AA", "...", ""} {
		f.Add(encoded, token, "/?access_token="+token)
	}
	f.Fuzz(func(_ *testing.T, encoded []byte, token, path string) {
		config := &jwtv3.JwtAuthentication{}
		_ = proto.Unmarshal(encoded, config)
		filter, err := jwt.New(config)
		if err != nil {
			return
		}
		s := request(token, nil)
		s.Headers.Set(stream.Path, path)
		s.Headers.Add("cookie", token)
		filter.Decide(s, nil, now)
		filter.Decide(s, jwt.NewRoute(&jwtv3.PerRouteConfig{}), now)
	})
}

func BenchmarkDecideAnAbstractToken(b *testing.B) {
	f := compile(b, fetched)
	s := request("token-1", map[string]*stream.Token{"token-1": {Claims: claims(b, map[string]any{"iss": "a", "aud": "web", "sub": "user", "scope": "read write"})}})
	b.ReportAllocs()
	for b.Loop() {
		if v := f.Decide(s.Clone(), nil, now); v.Outcome != jwt.Allowed {
			b.Fatal(v)
		}
	}
}
