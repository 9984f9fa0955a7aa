// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

const metadataName = "envoy.filters.http.jwt_authn"

// verification is the work on one request.
type verification struct {
	stream   *stream.Stream
	now      time.Time
	metadata map[string]*structpb.Value
	// reroute as in Verdict.
	reroute bool
	why     string
}

func (v *verification) cannot(why string) status {
	v.why = why
	return undecided
}

func (v *verification) publish() {
	if len(v.metadata) > 0 {
		v.stream.Metadata.Merge(metadataName, &structpb.Struct{Fields: v.metadata})
	}
}

func (v *verification) add(key string, value *structpb.Struct) {
	if v.metadata == nil {
		v.metadata = map[string]*structpb.Value{}
	}
	v.metadata[key] = structpb.NewStructValue(value)
}

// authenticator verifies the tokens of one provider, or where tokens are not
// needed those of several.
type authenticator struct {
	single                    *provider // nil: that of the issuer
	all                       map[string]*provider
	places                    *places
	audiences                 map[string]bool // of single
	allowMissing, allowFailed bool
}

// verify wants all tokens to be good: a back end may read another one than the
// proxy. Envoy begins with the last.
func (a *authenticator) verify(v *verification) status {
	a.places.sanitize(&v.stream.Headers)
	tokens := a.places.find(v.stream)
	result := missing
	at := a.only()
	if len(tokens) == 0 {
		v.fail(at, missing)
	}
	for i := len(tokens) - 1; i >= 0; i-- {
		if a.single != nil {
			at = a.single
		}
		if result = a.one(v, tokens[i], &at); result != ok && result != undecided {
			v.fail(at, result)
		}
		if result == undecided || result != ok && !a.allowMissing && !a.allowFailed {
			break
		}
	}
	if result != undecided && a.allowFailed || result == missing && a.allowMissing {
		return ok
	}
	return result
}

// only is the filter's provider where it has no other: it is taken for the one of
// a token that nothing is known of.
func (a *authenticator) only() *provider {
	if len(a.all) == 1 {
		for _, p := range a.all {
			return p
		}
	}
	return nil
}

// fail writes down why a token was refused, for a provider that wants it.
func (v *verification) fail(p *provider, s status) {
	if p == nil {
		return
	}
	if key := p.config.GetFailedStatusInMetadata(); key != "" {
		v.add(key, s.failure())
	}
}

// one verifies a token. at becomes the provider once that is known, and stays
// that of the token before until then, as in Envoy.
func (a *authenticator) one(v *verification, f found, at **provider) status {
	t, s := parse(f.text, v.stream.Tokens[f.text])
	switch {
	case s == undecided:
		return v.cannot(fmt.Sprintf("a token has more than %d bytes", maximumToken))
	case s != ok:
		return s
	case !f.at.allows(t.issuer):
		return unknownIssuer
	}
	p, s := a.provider(v, t)
	if s != ok {
		*at = a.only()
		return s
	}
	*at = p
	if s := a.claims(v, p, t); s != ok {
		return s
	}
	if t.abstract == nil && p.why != "" {
		return v.cannot(p.why)
	}
	if p.why == "" && len(p.keys)+p.unread == 0 {
		return noKeys
	}
	if s := t.verify(p.keys); s != ok {
		if t.abstract == nil && p.unread > 0 {
			return v.cannot("a key of the JWT provider " + p.name + " cannot be read here")
		}
		return s
	}
	return v.good(p, t, f)
}

// claims are checked before the signature is.
func (a *authenticator) claims(v *verification, p *provider, t *token) status {
	if s := t.inTime(v.now, p.skew); s != ok {
		return s
	}
	wanted := p.audiences
	if a.single != nil {
		wanted = a.audiences
	}
	if !audiencesAllowed(wanted, t.audiences) {
		return audienceNotAllowed
	}
	if p.subjects != nil {
		switch b := p.subjects.Match(t.subject); b.Truth {
		case match.Unknown:
			return v.cannot(b.Why)
		case match.False:
			return notVerified
		case match.True:
		}
	}
	if !p.lives(t, v.now) {
		return notVerified
	}
	return ok
}

// lives reports whether the rest of a token's life is as short as it has to be.
func (p *provider) lives(t *token, now time.Time) bool {
	if !p.config.GetRequireExpiration() && p.config.GetMaxLifetime() == nil {
		return true
	}
	if t.expires == 0 {
		return false
	}
	return p.config.GetMaxLifetime() == nil || float64(t.expires)-float64(now.Unix()) < p.lifetime.Seconds()
}

// provider is the one of the requirement, or else of the token's issuer, or one
// for all issuers.
func (a *authenticator) provider(v *verification, t *token) (*provider, status) {
	if a.single != nil {
		return a.single, ok
	}
	for _, issuer := range []string{t.issuer, ""} {
		var fits []*provider
		for _, p := range a.all {
			if p.config.GetIssuer() == issuer {
				fits = append(fits, p)
			}
		}
		if len(fits) > 1 {
			return nil, v.cannot("two JWT providers have the issuer " + strconv.Quote(issuer) + ", and which one Envoy takes is chance")
		}
		if len(fits) == 1 {
			return fits[0], ok
		}
	}
	return nil, unknownIssuer
}

// good does what follows of a token that is verified.
func (v *verification) good(p *provider, t *token, f found) status {
	headers := &v.stream.Headers
	if name := p.config.GetForwardPayloadHeader(); name != "" {
		headers.Add(name, t.forwarded(p.config.GetPadForwardPayloadHeader()))
	}
	added := false
	for _, c := range p.config.GetClaimToHeaders() {
		if value := claimText(claim(t.claims, c.GetClaimName())); value != "" {
			headers.Add(c.GetHeaderName(), value)
			added = true
		}
	}
	v.reroute = v.reroute || p.config.GetClearRouteCache() && (added || p.config.GetPayloadInMetadata() != "")
	if !p.config.GetForward() {
		f.at.remove(v.stream)
	}
	if key := p.config.GetHeaderInMetadata(); key != "" {
		v.add(key, t.header)
	}
	if key := p.config.GetPayloadInMetadata(); key != "" {
		v.add(key, normalized(t.claims, p.config.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims()))
	}
	return ok
}

// forwarded is the payload as upstreams get it.
func (t *token) forwarded(pad bool) string {
	payload := t.payload
	if t.abstract != nil {
		if text, err := json.Marshal(t.claims.AsMap()); err == nil {
			payload = base64.RawURLEncoding.EncodeToString(text)
		}
	}
	if pad {
		payload += strings.Repeat("=", (4-len(payload)%4)%4)
	}
	return payload
}

// claim follows a name with dots through the claims; nil is one that is missing.
func claim(claims *structpb.Struct, name string) *structpb.Value {
	var value *structpb.Value
	for part := range strings.SplitSeq(name, ".") {
		if value = claims.GetFields()[part]; value == nil {
			return nil
		}
		claims = value.GetStructValue()
	}
	return value
}

// claimText is a claim as a header.
func claimText(value *structpb.Value) string {
	switch k := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		if k.NumberValue >= 0 && k.NumberValue < math.MaxUint64 && k.NumberValue == math.Trunc(k.NumberValue) {
			return strconv.FormatUint(uint64(k.NumberValue), 10)
		}
		return strconv.FormatFloat(k.NumberValue, 'f', 6, 64)
	case *structpb.Value_StructValue, *structpb.Value_ListValue:
		text, err := json.Marshal(value.AsInterface())
		if err != nil {
			return ""
		}
		return base64.StdEncoding.EncodeToString(text)
	}
	return ""
}

// normalized are the claims with the words of some of them as lists.
func normalized(claims *structpb.Struct, spaced []string) *structpb.Struct {
	out := claims
	for _, name := range spaced {
		text, isText := claims.GetFields()[name].GetKind().(*structpb.Value_StringValue)
		if !isText {
			continue
		}
		words := &structpb.ListValue{}
		for word := range strings.SplitSeq(text.StringValue, " ") {
			if word != "" {
				words.Values = append(words.Values, structpb.NewStringValue(word))
			}
		}
		if len(words.Values) == 0 {
			continue
		}
		if out == claims {
			out = &structpb.Struct{Fields: maps.Clone(claims.GetFields())}
		}
		out.Fields[name] = structpb.NewListValue(words)
	}
	return out
}
