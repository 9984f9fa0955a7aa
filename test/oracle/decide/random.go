// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/test/envoy"
)

// dice makes configurations that Envoy takes, and requests that come near them.
type dice struct{ *rand.Rand }

func (d dice) chance(of float64) bool { return d.Float64() < of }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// What configurations and requests are made of. Both draw from the same words,
// so that matchers often hit and often just miss.
var (
	paths   = []string{"/", "/api", "/api/", "/api/v1/x", "/API", "/a/b/c", "/a//b", "/x.html", "/api%2fx", "/a;b=1", "/a(b)+$,c", "/a@b:c", "/*"}
	queries = []string{"", "?", "?a=1", "?a=1&b=2&a=3", "?q=/api", "?a=%31", "?b", "?=&a"}
	hosts   = []string{"shop", "Shop", "shop:8080", "a.shop.example.com", "127.0.0.1", "[::1]:80"}
	methods = []string{"GET", "POST", "OPTIONS", "DELETE", "HEAD", "PUT"}
	values  = []string{"", "a", "A", "abc", "ABCD", "abc,a", "a,abc", "x", "7", "-3", "+12", "007", "9223372036854775807", "1e3", "b c", "a.c"}
	names   = []string{"x-a", "X-B", "x-c", ":path", ":method", ":authority", "host", ":scheme"}
	servers = []string{"", "shop", "a.shop.example.com"}
	uris    = []string{"spiffe://cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/a/sa/c", "spiffe://other/ns/b/sa/b"}
	dns     = []string{"client.example.com", "b.example.com"}
	// templates are paths in the language of the template extension.
	templates = []string{"/api/*", "/api/**", "/**", "/*", "/{a}/{b}", "/{a=api/*}/x", "/**/x", "/a/*.html", "/**.html", "/a(b)+$,c", "/a/", "/{x=**}", "/api/v1/{name}", "/a;b=1", "/*=1"}
)

func (d dice) text(pool []string) *matcherv3.StringMatcher {
	value := pick(d, pool)
	cut := 0
	if len(value) > 0 {
		cut = d.IntN(len(value))
	}
	m := &matcherv3.StringMatcher{IgnoreCase: d.chance(0.3)}
	kind := d.IntN(6)
	if value == "" && kind < 4 {
		kind = 5
	}
	switch kind {
	case 0:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: value[:cut+1]}
	case 1:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: value[cut:]}
	case 2:
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: value[cut/2 : cut+1]}
	case 3:
		m.IgnoreCase = false
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: d.regex(value)}
	default:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: value}
	}
	return m
}

func (d dice) regex(value string) *matcherv3.RegexMatcher {
	quoted := regexp.QuoteMeta(value)
	return &matcherv3.RegexMatcher{Regex: pick(d, []string{
		quoted, ".*", ".+", quoted + ".*", ".*" + quoted, "(?i)" + quoted, quoted + "|a", "[a-c]+", "\\d+", "^" + quoted + "$", "(a|ab)(c|bcd)?", ".*/ns/a/.*",
	})}
}

func (d dice) header() *routev3.HeaderMatcher {
	m := &routev3.HeaderMatcher{Name: pick(d, names), InvertMatch: d.chance(0.3), TreatMissingHeaderAsEmpty: d.chance(0.3)}
	pool := values
	switch m.GetName() {
	case ":path":
		pool = paths
	case ":method":
		pool = methods
	case ":authority", "host":
		pool = hosts
	case ":scheme":
		pool = []string{"http", "https"}
	}
	value := pick(d, pool)
	kind := d.IntN(10)
	if value == "" && kind > 3 {
		kind = 0
	}
	//nolint:staticcheck // Deprecated fields are in configurations that proxies have.
	switch kind {
	case 0:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: value}
	case 1:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: d.chance(0.6)}
	case 2:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: d.Int64N(20) - 10, End: d.Int64N(20)}}
	case 3: // presence
	case 4:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: d.regex(value)}
	case 5:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: value}
	case 6:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: value}
	default:
		m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: d.text(pool)}
	}
	return m
}

func (d dice) path() *matcherv3.PathMatcher {
	return &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: d.text(paths)}}
}

func (d dice) template() *corev3.TypedExtensionConfig { return template(pick(d, templates)) }

func template(text string) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.path.match.uri_template.uri_template_matcher",
		TypedConfig: envoy.Any(&templatev3.UriTemplateMatchConfig{PathTemplate: text}),
	}
}

func (d dice) cidr() *corev3.CidrRange {
	address := pick(d, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "10.1.2.3", "10.1.0.0", "::1", "2001:db8::1", "0.0.0.0"})
	out := &corev3.CidrRange{AddressPrefix: address}
	if d.chance(0.9) {
		out.PrefixLen = wrapperspb.UInt32(pick(d, []uint32{0, 8, 24, 30, 31, 32, 128}))
	}
	return out
}

// metadata asks for what state (see world.go) puts there.
func (d dice) metadata(filter string) *matcherv3.MetadataMatcher {
	out := &matcherv3.MetadataMatcher{Filter: filter, Value: d.value(0), Invert: d.chance(0.2)}
	for _, key := range strings.Split(pick(d, []string{"text", "number", "yes", "list", "nested.text", "nested.list", "nothing", "null", "nested", "nested.nothing", "text.more"}), ".") {
		out.Path = append(out.Path, &matcherv3.MetadataMatcher_PathSegment{
			Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key},
		})
	}
	return out
}

func (d dice) value(depth int) *matcherv3.ValueMatcher {
	out := &matcherv3.ValueMatcher{}
	switch kind := d.IntN(9); {
	case kind == 0:
		out.MatchPattern = &matcherv3.ValueMatcher_NullMatch_{NullMatch: &matcherv3.ValueMatcher_NullMatch{}}
	case kind == 1:
		out.MatchPattern = &matcherv3.ValueMatcher_DoubleMatch{DoubleMatch: &matcherv3.DoubleMatcher{MatchPattern: &matcherv3.DoubleMatcher_Exact{Exact: pick(d, []float64{7, 1.5})}}}
	case kind == 2:
		out.MatchPattern = &matcherv3.ValueMatcher_DoubleMatch{DoubleMatch: &matcherv3.DoubleMatcher{MatchPattern: &matcherv3.DoubleMatcher_Range{Range: &typev3.DoubleRange{Start: 1, End: 7}}}}
	case kind == 3:
		out.MatchPattern = &matcherv3.ValueMatcher_BoolMatch{BoolMatch: d.chance(0.5)}
	case kind == 4:
		out.MatchPattern = &matcherv3.ValueMatcher_PresentMatch{PresentMatch: d.chance(0.8)}
	case kind == 5 && depth < 2:
		out.MatchPattern = &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: d.value(depth + 1)}}}
	case kind == 6 && depth < 2:
		out.MatchPattern = &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: []*matcherv3.ValueMatcher{d.value(depth + 1), d.value(depth + 1)}}}
	default:
		out.MatchPattern = &matcherv3.ValueMatcher_StringMatch{StringMatch: d.text([]string{"abc", "ABCD", "a", "b c"})}
	}
	return out
}

// request is an HTTP/1.1 request as it is written, and its header fields.
type request struct {
	raw                string
	method, path, host string
	fields             [][2]string
}

func (d dice) request(extra ...[2]string) request {
	q := request{method: pick(d, methods), path: pick(d, paths) + pick(d, queries), host: pick(d, hosts), fields: extra}
	for _, name := range []string{"X-A", "x-b", "x-c"} {
		for range d.IntN(3) {
			q.fields = append(q.fields, [2]string{name, pick(d, values)})
		}
	}
	if d.chance(0.2) {
		q.fields = append(q.fields, [2]string{"x-forwarded-for", pick(d, []string{"10.1.2.3", "10.9.9.9, 10.1.2.3", "2001:db8::1", "nonsense"})})
	}
	q.write()
	return q
}

func (q *request) write() {
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.path, q.host)
	for _, f := range q.fields {
		fmt.Fprintf(&raw, "%s: %s\r\n", f[0], f[1])
	}
	q.raw = raw.String() + "\r\n"
}
