// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package space

import (
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/trellis-mesh/trellis/internal/ask/atom"
	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/decide/match"
)

// maxDepth bounds how deep conditions are read.
const maxDepth = 100

// policyOf is one policy of an RBAC filter.
func policyOf(p *rbacv3.Policy) condition {
	out := all{either(each(p.GetPermissions(), -1, permissionOf)), either(each(p.GetPrincipals(), -1, principalOf))}
	if p.GetCondition() != nil || p.GetCheckedCondition() != nil {
		out = append(out, blind{"a condition in CEL"})
	}
	return out
}

//nolint:staticcheck // Deprecated fields are in configurations that proxies have.
func permissionOf(p *rbacv3.Permission, depth int) condition {
	if depth > maxDepth {
		return blind{"a condition that is nested too deep"}
	}
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return all(each(r.AndRules.GetRules(), depth, permissionOf))
	case *rbacv3.Permission_OrRules:
		return either(each(r.OrRules.GetRules(), depth, permissionOf))
	case *rbacv3.Permission_NotRule:
		return not{permissionOf(r.NotRule, depth+1)}
	case *rbacv3.Permission_Any:
		return constant(yes)
	case *rbacv3.Permission_Header:
		return headerOf(r.Header)
	case *rbacv3.Permission_UrlPath:
		return text(class.Dimension{Kind: class.Path}, r.UrlPath.GetPath())
	case *rbacv3.Permission_UriTemplate:
		return templateOf(r.UriTemplate)
	case *rbacv3.Permission_DestinationPort:
		return port{r.DestinationPort, r.DestinationPort}
	case *rbacv3.Permission_DestinationPortRange:
		return port{uint32(r.DestinationPortRange.GetStart()), uint32(r.DestinationPortRange.GetEnd()) - 1}
	case *rbacv3.Permission_Metadata:
		return metadataOf(r.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		return metadataOf(r.SourcedMetadata.GetMetadataMatcher())
	case *rbacv3.Permission_DestinationIp:
		return blind{"the address that a connection goes to"}
	case *rbacv3.Permission_RequestedServerName:
		return serverName{textPatterns(r.RequestedServerName)}
	}
	return blind{"an extension that decides on permissions"}
}

//nolint:staticcheck // As permissionOf.
func principalOf(p *rbacv3.Principal, depth int) condition {
	if depth > maxDepth {
		return blind{"a condition that is nested too deep"}
	}
	switch i := p.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return all(each(i.AndIds.GetIds(), depth, principalOf))
	case *rbacv3.Principal_OrIds:
		return either(each(i.OrIds.GetIds(), depth, principalOf))
	case *rbacv3.Principal_NotId:
		return not{principalOf(i.NotId, depth+1)}
	case *rbacv3.Principal_Any:
		return constant(yes)
	case *rbacv3.Principal_Authenticated_:
		if i.Authenticated.GetPrincipalName() == nil {
			return secured{}
		}
		return text(class.Dimension{Kind: class.Identity}, i.Authenticated.GetPrincipalName())
	case *rbacv3.Principal_SourceIp:
		return rangeOf(i.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return rangeOf(i.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return rangeOf(i.RemoteIp)
	case *rbacv3.Principal_Header:
		return headerOf(i.Header)
	case *rbacv3.Principal_UrlPath:
		return text(class.Dimension{Kind: class.Path}, i.UrlPath.GetPath())
	case *rbacv3.Principal_Metadata:
		return metadataOf(i.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		return metadataOf(i.SourcedMetadata.GetMetadataMatcher())
	}
	return blind{"a principal in filter state, or an extension that decides on principals"}
}

func each[T any](parts []T, depth int, read func(T, int) condition) []condition {
	out := make([]condition, 0, len(parts))
	for _, p := range parts {
		out = append(out, read(p, depth+1))
	}
	return out
}

func rangeOf(r *corev3.CidrRange) condition {
	block, err := match.NewRange(r)
	if err != nil {
		return blind{"a block of addresses that cannot be read"}
	}
	return leaf{class.Dimension{Kind: class.Address}, atom.Pattern{Kind: atom.Range, Text: block.String()}}
}

// textPatterns are one or none: nil is for a matcher that is an extension.
func textPatterns(m *matcherv3.StringMatcher) []atom.Pattern {
	p := atom.Pattern{Fold: m.GetIgnoreCase()}
	switch s := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		p.Text = s.Exact
	case *matcherv3.StringMatcher_Prefix:
		p.Kind, p.Text = atom.Prefix, s.Prefix
	case *matcherv3.StringMatcher_Suffix:
		p.Kind, p.Text = atom.Suffix, s.Suffix
	case *matcherv3.StringMatcher_Contains:
		p.Kind, p.Text = atom.Contains, s.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		p = atom.Pattern{Kind: atom.Regex, Text: s.SafeRegex.GetRegex()}
	default:
		return nil
	}
	if p.Kind == atom.Regex && (p.Text == ".*" || p.Text == ".+") || p.Kind == atom.Prefix && p.Text == "" {
		p = atom.Pattern{Kind: atom.Present}
	}
	return []atom.Pattern{p}
}

func text(d class.Dimension, m *matcherv3.StringMatcher) condition {
	for _, p := range textPatterns(m) {
		return leaf{d, p}
	}
	return blind{"an extension that compares texts"}
}

func headerDimension(name string) class.Dimension {
	switch name = strings.ToLower(name); name {
	case ":authority", "host":
		return class.Dimension{Kind: class.Host}
	case ":method":
		return class.Dimension{Kind: class.Method}
	case ":path":
		return class.Dimension{Kind: class.Path}
	}
	return class.Dimension{Kind: class.Header, Name: name}
}

//nolint:staticcheck // Deprecated forms are what Istio writes in places.
func headerOf(m *routev3.HeaderMatcher) condition {
	d := headerDimension(m.GetName())
	present := leaf{d, atom.Pattern{Kind: atom.Present}}
	var c condition
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		c = condition(present)
		if !s.PresentMatch {
			c = not{c}
		}
		if m.GetInvertMatch() {
			c = not{c}
		}
		return c
	case nil:
		c = present
	case *routev3.HeaderMatcher_StringMatch:
		c = text(d, s.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch:
		c = leaf{d, atom.Pattern{Text: s.ExactMatch}}
	case *routev3.HeaderMatcher_PrefixMatch:
		c = leaf{d, atom.Pattern{Kind: atom.Prefix, Text: s.PrefixMatch}}
	case *routev3.HeaderMatcher_SuffixMatch:
		c = leaf{d, atom.Pattern{Kind: atom.Suffix, Text: s.SuffixMatch}}
	case *routev3.HeaderMatcher_ContainsMatch:
		c = leaf{d, atom.Pattern{Kind: atom.Contains, Text: s.ContainsMatch}}
	case *routev3.HeaderMatcher_SafeRegexMatch:
		c = leaf{d, atom.Pattern{Kind: atom.Regex, Text: s.SafeRegexMatch.GetRegex()}}
	default:
		return blind{"the number in header " + m.GetName()}
	}
	if !m.GetInvertMatch() {
		return c
	}
	if m.GetTreatMissingHeaderAsEmpty() {
		return not{c}
	}
	// Inverted or not: a header that is missing matches no value.
	return all{present, not{c}}
}

var templateVariable = regexp.MustCompile(`\{[^}]*\}|\*\*?`)

// templateOf reads a path template: one star is a segment, two are the rest.
func templateOf(c *corev3.TypedExtensionConfig) condition {
	m := &templatev3.UriTemplateMatchConfig{}
	if !c.GetTypedConfig().MessageIs(m) || c.GetTypedConfig().UnmarshalTo(m) != nil {
		return blind{"the path matcher " + c.GetName()}
	}
	var expression strings.Builder
	rest := m.GetPathTemplate()
	for {
		at := templateVariable.FindStringIndex(rest)
		if at == nil {
			break
		}
		expression.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		if strings.Contains(rest[at[0]:at[1]], "**") {
			expression.WriteString(".*")
		} else {
			expression.WriteString("[^/]+")
		}
		rest = rest[at[1]:]
	}
	expression.WriteString(regexp.QuoteMeta(rest))
	return leaf{class.Dimension{Kind: class.Path}, atom.Pattern{Kind: atom.Regex, Text: expression.String()}}
}

// metadataOf reads what matchers ask of tokens; other metadata are not split.
func metadataOf(m *matcherv3.MetadataMatcher) condition {
	var keys []string
	for _, segment := range m.GetPath() {
		keys = append(keys, segment.GetKey())
	}
	if m.GetFilter() != "envoy.filters.http.jwt_authn" || len(keys) < 2 || keys[0] != "payload" {
		return blind{"metadata of " + m.GetFilter()}
	}
	d := class.Dimension{Kind: class.Claim, Name: strings.Join(keys[1:], "\x00")}
	if d.Name == "iss" {
		d = class.Dimension{Kind: class.Token}
	}
	c := valueOf(d, m.GetValue(), 0)
	if m.GetInvert() {
		return not{c}
	}
	return c
}

func valueOf(d class.Dimension, m *matcherv3.ValueMatcher, depth int) condition {
	if depth > maxDepth {
		return blind{"a condition that is nested too deep"}
	}
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_StringMatch:
		return text(d, v.StringMatch)
	case *matcherv3.ValueMatcher_PresentMatch:
		return leaf{d, atom.Pattern{Kind: atom.Present}}
	case *matcherv3.ValueMatcher_ListMatch:
		return valueOf(d, v.ListMatch.GetOneOf(), depth+1)
	case *matcherv3.ValueMatcher_OrMatch:
		var out some
		for _, one := range v.OrMatch.GetValueMatchers() {
			// A text and a list of texts are compared with the same pattern.
			c := valueOf(d, one, depth+1)
			if compared, is := c.(leaf); is && slices.ContainsFunc(out, func(o condition) bool { known, is := o.(leaf); return is && known == compared }) {
				continue
			}
			out = append(out, c)
		}
		return out
	}
	return blind{"a claim that is no text"}
}
