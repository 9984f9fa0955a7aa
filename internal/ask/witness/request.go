// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package witness knows requests that stand for a class of them.
package witness

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// Place is where a token is sent: one of a header, a parameter and a cookie.
type Place struct {
	Header, Prefix, Parameter, Cookie string
}

// AnyToken is the text that stands for a token that exists in a question only.
const AnyToken = "a-token-of-this-question"

// AnyHost is the host of requests whose host makes no difference.
const AnyHost = "any-other.example"

// Bearer is where tokens are sent that nobody has said another place for (RFC 6750
// §2.1).
var Bearer = Place{Header: "authorization", Prefix: "Bearer "}

// Request is the witness of a class in plain words.
type Request struct {
	Host, Path, Method string
	// Query of the URL, without its question mark.
	Query   string
	Headers []stream.Header
	// Claims are those of its token; nil: it has none.
	Claims *structpb.Struct
	// Place is where the token is sent.
	Place Place
	// Identity is the SPIFFE ID of the client's certificate, where the class says.
	Identity string
	// Address of the client; invalid: the door's.
	Address netip.Addr
}

// Message is the request as its client sends it.
func (r Request) Message() *hcm.Request {
	out := &hcm.Request{Method: r.Method, Target: r.Path}
	query := r.Query
	out.Headers.Add("host", r.Host)
	for _, h := range r.Headers {
		if r.Claims == nil || h.Name != r.Place.Header {
			out.Headers.Add(h.Name, h.Value)
		}
	}
	if r.Claims != nil {
		switch {
		case r.Place.Header != "":
			out.Headers.Add(r.Place.Header, r.Place.Prefix+AnyToken)
		case r.Place.Parameter != "":
			query = strings.TrimPrefix(query+"&"+r.Place.Parameter+"="+AnyToken, "&")
		case r.Place.Cookie != "":
			out.Headers.Add("cookie", r.Place.Cookie+"="+AnyToken)
		}
	}
	if query != "" {
		out.Target += "?" + query
	}
	return out
}

// ClaimsJSON are the claims, in the same text each time: protojson varies its spaces. Nil: there
// are none.
func (r Request) ClaimsJSON() json.RawMessage {
	if r.Claims == nil {
		return nil
	}
	raw, err := protojson.Marshal(r.Claims)
	if err != nil {
		return nil
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return nil
	}
	if raw, err = json.Marshal(value); err != nil {
		return nil
	}
	return raw
}

// Texts are what a request has in a dimension.
func (r Request) Texts(d class.Dimension) (absent bool, texts []string) {
	switch d.Kind {
	case class.Host:
		return false, []string{r.Host}
	case class.Path:
		return false, []string{r.Path}
	case class.Method:
		return false, []string{r.Method}
	case class.Identity:
		return false, []string{r.Identity}
	case class.Address:
		return false, []string{r.Address.String()}
	case class.Header:
		for _, h := range r.Headers {
			if h.Name == d.Name {
				texts = append(texts, h.Value)
			}
		}
	case class.Parameter:
		if values, err := url.ParseQuery(r.Query); err == nil {
			texts = values[d.Name]
		}
	case class.Token:
		texts = claimTexts(r.Claims, []string{"iss"})
	case class.Claim:
		texts = claimTexts(r.Claims, strings.Split(d.Name, "\x00"))
	}
	return len(texts) == 0, texts
}

func claimTexts(claims *structpb.Struct, path []string) []string {
	value := claims.GetFields()[path[0]]
	if len(path) > 1 {
		return claimTexts(value.GetStructValue(), path[1:])
	}
	if list := value.GetListValue(); list != nil {
		var out []string
		for _, v := range list.GetValues() {
			out = append(out, v.GetStringValue())
		}
		return out
	}
	text := value.GetStringValue()
	switch {
	case value == nil:
		return nil
	case slices.Contains(spaceDelimited, path[0]):
		return strings.Fields(text)
	}
	return []string{text}
}

// spaceDelimited are claims that are one text with spaces in tokens (RFC 8693 §4.2).
var spaceDelimited = []string{"scope", "permission"}

// SetClaim gives a token's claims one more: the last key of a path, inside of the
// claims that the others name.
func SetClaim(claims map[string]*structpb.Value, path, texts []string) {
	if len(path) > 1 {
		inside := claims[path[0]].GetStructValue()
		if inside == nil {
			inside = &structpb.Struct{Fields: map[string]*structpb.Value{}}
			claims[path[0]] = structpb.NewStructValue(inside)
		}
		SetClaim(inside.Fields, path[1:], texts)
		return
	}
	if len(texts) == 1 || slices.Contains(spaceDelimited, path[0]) {
		claims[path[0]] = structpb.NewStringValue(strings.Join(texts, " "))
		return
	}
	list := &structpb.ListValue{}
	for _, t := range texts {
		list.Values = append(list.Values, structpb.NewStringValue(t))
	}
	claims[path[0]] = structpb.NewListValue(list)
}
