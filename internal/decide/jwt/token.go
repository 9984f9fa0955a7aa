// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// maximumToken bounds a token in bytes; Envoy's own bound is that of all headers.
const maximumToken = 96 << 10

// token is a parsed token.
type token struct {
	abstract *stream.Token // nil: a real one

	header         *structpb.Struct
	claims         *structpb.Struct
	algorithm, key string // alg and kid of the header
	payload        string // base64url, as it came
	signed         string // what the signature is of
	signature      []byte

	issuer, subject string
	audiences       []string
	notBefore       uint64 // seconds since 1970; 0 is none
	expires         uint64 // 0 is none
}

// noHeader is the header of a token that exists in the question only.
var noHeader = &structpb.Struct{}

// parse reads a token as Envoy does: leniently, and in this order.
func parse(text string, abstract *stream.Token) (*token, status) {
	if abstract != nil {
		t := &token{abstract: abstract, claims: abstract.Claims, header: noHeader}
		if t.claims == nil {
			t.claims = &structpb.Struct{}
		}
		return t, t.readClaims()
	}
	if len(text) > maximumToken {
		return nil, undecided
	}
	parts := slices.DeleteFunc(strings.Split(text, "."), func(p string) bool { return p == "" })
	if len(parts) != 3 {
		return nil, badFormat
	}
	t := &token{payload: parts[1], signed: parts[0] + "." + parts[1]}
	if s := t.readHeader(parts[0]); s != ok {
		return nil, s
	}
	payload, decoded := decode(parts[1])
	if !decoded {
		return nil, badPayloadBase64
	}
	t.claims = &structpb.Struct{}
	if protojson.Unmarshal(payload, t.claims) != nil {
		return nil, badPayloadJSON
	}
	if s := t.readClaims(); s != ok {
		return nil, s
	}
	if t.signature, decoded = decode(parts[2]); !decoded {
		return nil, badSignatureBase64
	}
	return t, ok
}

// decode reads base64url with or without padding, and with spaces anywhere.
func decode(text string) ([]byte, bool) {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\n\v\f\r", r) {
			return -1
		}
		return r
	}, text)
	out, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	return out, err == nil
}

// algorithms are those that Envoy knows.
var algorithms = []string{
	"ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
}

func (t *token) readHeader(part string) status {
	text, decoded := decode(part)
	if !decoded {
		return badHeaderBase64
	}
	t.header = &structpb.Struct{}
	if protojson.Unmarshal(text, t.header) != nil {
		return badHeaderJSON
	}
	algorithm, isText := t.header.GetFields()["alg"].GetKind().(*structpb.Value_StringValue)
	if !isText {
		return badAlgorithm
	}
	t.algorithm = algorithm.StringValue
	if !slices.Contains(algorithms, t.algorithm) {
		return unknownAlgorithm
	}
	if !readText(t.header, "kid", &t.key) {
		return badKeyID
	}
	return ok
}

// readClaims checks the types of the claims that RFC 7519 registers.
func (t *token) readClaims() status {
	if !readText(t.claims, "iss", &t.issuer) {
		return notAString("iss")
	}
	if !readText(t.claims, "sub", &t.subject) {
		return notAString("sub")
	}
	var issued uint64
	for _, c := range []struct {
		name string
		to   *uint64
	}{{"iat", &issued}, {"nbf", &t.notBefore}, {"exp", &t.expires}} {
		if s := readTime(t.claims, c.name, c.to); s != ok {
			return s
		}
	}
	var id string
	if !readText(t.claims, "jti", &id) {
		return notAString("jti")
	}
	return t.readAudiences()
}

func (t *token) readAudiences() status {
	switch v := t.claims.GetFields()["aud"].GetKind().(type) {
	case nil:
	case *structpb.Value_StringValue:
		t.audiences = []string{v.StringValue}
	case *structpb.Value_ListValue:
		for _, one := range v.ListValue.GetValues() {
			s, isText := one.GetKind().(*structpb.Value_StringValue)
			if !isText {
				return badAudience
			}
			t.audiences = append(t.audiences, s.StringValue)
		}
	default:
		return badAudience
	}
	return ok
}

// readText is false where there is a claim that is no text.
func readText(s *structpb.Struct, name string, to *string) bool {
	switch v := s.GetFields()[name].GetKind().(type) {
	case nil:
	case *structpb.Value_StringValue:
		*to = v.StringValue
	default:
		return false
	}
	return true
}

func readTime(s *structpb.Struct, name string, to *uint64) status {
	switch v := s.GetFields()[name].GetKind().(type) {
	case nil:
	case *structpb.Value_NumberValue:
		if !(v.NumberValue >= 0 && v.NumberValue < math.MaxUint64) {
			return outOfRange(name)
		}
		*to = uint64(v.NumberValue)
	default:
		return notAnInteger(name)
	}
	return ok
}

// inTime compares nbf and exp with the time, with skew in seconds either way.
func (t *token) inTime(now time.Time, skew uint64) status {
	if t.abstract != nil && t.abstract.Expired {
		return expired
	}
	at := uint64(max(0, now.Unix()))
	switch {
	case at+skew < t.notBefore:
		return notYetValid
	case t.expires != 0 && t.expires < math.MaxUint64-skew && at > t.expires+skew:
		return expired
	}
	return ok
}

// audience is what of an audience counts: no scheme, no slash at the end.
func audience(a string) string {
	a = strings.TrimSuffix(a, "/")
	if rest, cut := strings.CutPrefix(a, "http://"); cut {
		return rest
	}
	return strings.TrimPrefix(a, "https://")
}

// audiencesAllowed: one of the token's is among those that are wanted, unless
// none is.
func audiencesAllowed(wanted map[string]bool, have []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(have, func(a string) bool { return wanted[audience(a)] })
}
