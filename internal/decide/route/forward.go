// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
)

// rewriting is what a route makes of paths and hosts.
type rewriting struct {
	prefix  string
	whole   *substitution
	host    *substitution
	unknown string // the path depends on what is not known here
}

// substitution is a compiled RegexMatchAndSubstitute.
type substitution struct {
	pattern *regexp.Regexp
	with    string // in the syntax of Go
}

func newSubstitution(c *matcherv3.RegexMatchAndSubstitute) (*substitution, error) {
	if c == nil {
		return nil, nil
	}
	pattern, err := regexp.Compile(c.GetPattern().GetRegex())
	if err != nil {
		return nil, fmt.Errorf("compiling a regular expression: %w", err)
	}
	with, err := goTemplate(c.GetSubstitution(), pattern.NumSubexp())
	if err != nil {
		return nil, err
	}
	return &substitution{pattern, with}, nil
}

// goTemplate writes a substitution of RE2 ("\1") as Go has it ("${1}").
func goTemplate(re2 string, groups int) (string, error) {
	var b strings.Builder
	for i := 0; i < len(re2); i++ {
		switch c := re2[i]; {
		case c == '$':
			b.WriteString("$$")
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(re2) && re2[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case i+1 < len(re2) && '0' <= re2[i+1] && re2[i+1] <= '9':
			if int(re2[i+1]-'0') > groups {
				return "", fmt.Errorf("the substitution %q has a group that its pattern has not", re2)
			}
			b.WriteString("${" + re2[i+1:i+2] + "}")
			i++
		default:
			return "", fmt.Errorf("the substitution %q has a backslash before neither a digit nor a backslash", re2)
		}
	}
	return b.String(), nil
}

func (s *substitution) replace(text string) string { return s.pattern.ReplaceAllString(text, s.with) }

func newRewriting(c *routev3.Route) (rewriting, error) {
	action, redirect := c.GetRoute(), c.GetRedirect()
	out := rewriting{prefix: action.GetPrefixRewrite() + redirect.GetPrefixRewrite()}
	if action.GetPathRewritePolicy() != nil || action.GetPathRewrite() != "" || redirect.GetPathRewrite() != "" {
		out.unknown = "route " + c.GetName() + " rewrites the path by a template"
	}
	if out.prefix != "" && c.GetMatch().GetPathMatchPolicy() != nil {
		out.unknown = "route " + c.GetName() + " rewrites the prefix of a path that a template has matched"
	}
	expression := action.GetRegexRewrite()
	if redirect != nil {
		expression = redirect.GetRegexRewrite()
	}
	var err error
	if out.whole, err = newSubstitution(expression); err != nil {
		return out, err
	}
	out.host, err = newSubstitution(action.GetHostRewritePathRegex())
	return out, err
}

// path is the path and query of a request after the rewrite, or why nobody can
// tell.
func (w *rewriting) path(r *Route, s *stream.Stream) (string, string) {
	path := s.Path()
	if w.unknown != "" {
		return path, w.unknown
	}
	only := match.WithoutQuery(path)
	switch {
	case w.whole != nil:
		if out := w.whole.replace(only); out != "" { // nothing is no path: Envoy keeps the old one
			return out + path[len(only):], ""
		}
	case w.prefix != "" && (r.config.GetMatch().GetSafeRegex() != nil || r.config.GetMatch().GetConnectMatcher() != nil):
		return w.prefix + path[len(only):], ""
	case w.prefix != "" && r.begins(path):
		return w.prefix + path[len(r.literal):], ""
	}
	return path, ""
}

// begins is whether the path begins with what the route matches. Where parameters
// are ignored in matching, it need not.
func (r *Route) begins(path string) bool {
	if len(path) < len(r.literal) {
		return false
	}
	head := path[:len(r.literal)]
	return head == r.literal || r.key == byAsking && asciiLower(head) == asciiLower(r.literal)
}

// keeps is whether a regular expression rewrites the path to what it is.
func (w *rewriting) keeps(path string) bool {
	return w.whole != nil && w.whole.replace(match.WithoutQuery(path)) != ""
}

// Forwarded is the request as it goes to an upstream host of the chosen cluster:
// with its path and host rewritten and headers added and removed. Names are those
// of headers whose new value cannot be told, such as one with the time in it;
// they may include ":path" and ":authority".
func (c *Case) Forwarded(s *stream.Stream) (out *stream.Stream, unknown []string) {
	out = s.Clone()
	return out, c.Forward(out)
}

// Forward is Forwarded of a request that nobody needs any more as it was.
func (c *Case) Forward(s *stream.Stream) (unknown []string) {
	r := c.Route
	if c.weighted != nil {
		unknown = append(unknown, c.weighted.mutation.apply(&s.Headers)...)
	}
	for i := range r.mutations {
		unknown = append(unknown, r.mutations[i].apply(&s.Headers)...)
	}
	unknown = append(unknown, c.rewriteHost(s)...)
	path, why := r.rewrite.path(r, s)
	if why != "" {
		return append(unknown, stream.Path)
	}
	if path != s.Path() || r.rewrite.prefix != "" && r.begins(path) || r.rewrite.keeps(path) {
		s.Headers.Set("x-envoy-original-path", s.Path())
		s.Headers.Set(stream.Path, path)
	}
	return unknown
}

// rewriteHost sets the host: that of the weighted cluster first, which leaves no
// trace, then the route's.
func (c *Case) rewriteHost(out *stream.Stream) []string {
	if c.weighted != nil && c.weighted.config.GetHostRewriteLiteral() != "" {
		out.Headers.Set(stream.Authority, c.weighted.config.GetHostRewriteLiteral())
	}
	action := c.Route.config.GetRoute()
	host := action.GetHostRewriteLiteral()
	switch {
	case host != "":
	case action.GetHostRewriteHeader() != "":
		host, _ = out.Headers.Get(strings.ToLower(action.GetHostRewriteHeader()))
	case c.Route.rewrite.host != nil:
		host = c.Route.rewrite.host.replace(match.WithoutQuery(out.Path()))
	case action.GetAutoHostRewrite().GetValue() || action.GetHostRewrite() != "":
		return []string{stream.Authority}
	}
	if host == "" {
		return nil
	}
	before := out.Authority()
	if action.GetAppendXForwardedHost() {
		forwardHost(&out.Headers, before)
	}
	out.Headers.Set("x-envoy-original-host", before)
	out.Headers.Set(stream.Authority, host)
	return nil
}

// forwardHost adds the host that was asked for to X-Forwarded-Host, unless it is
// the last one there.
func forwardHost(h *stream.Headers, host string) {
	had, _ := h.Get("x-forwarded-host")
	switch last := had[strings.LastIndexByte(had, ',')+1:]; {
	case host == "":
	case had == "":
		h.Set("x-forwarded-host", host)
	case last != host:
		h.Set("x-forwarded-host", had+","+host)
	}
}

// mutation is one level's changes of request headers.
type mutation struct {
	add    []addition
	remove []string
}

// addition is one header with what it is set to.
type addition struct {
	field  stream.Header
	known  bool // the value is
	option *corev3.HeaderValueOption
}

func newMutation(add []*corev3.HeaderValueOption, remove []string) mutation {
	var out mutation
	for _, name := range remove {
		out.remove = append(out.remove, strings.ToLower(name))
	}
	for _, o := range add {
		value := o.GetHeader().GetValue()
		if value == "" {
			value = string(o.GetHeader().GetRawValue())
		}
		value, known := literal(value)
		out.add = append(out.add, addition{stream.Header{Name: strings.ToLower(o.GetHeader().GetKey()), Value: value}, known, o})
	}
	return out
}

// mutationsOf are those of a route in the order in which they are made, after that of
// a weighted cluster.
func mutationsOf(c *routev3.Route, v *VirtualHost) []mutation {
	own := newMutation(c.GetRequestHeadersToAdd(), c.GetRequestHeadersToRemove())
	if v.table.config.GetMostSpecificHeaderMutationsWins() {
		return changing(v.table.mutation, v.mutation, own)
	}
	return changing(own, v.mutation, v.table.mutation)
}

// changing are the mutations that do anything.
func changing(all ...mutation) []mutation {
	return slices.DeleteFunc(all, func(m mutation) bool { return len(m.add)+len(m.remove) == 0 })
}

// apply makes one level's changes in Envoy's order: it removes, sets, and adds at
// last, each as the headers were before it began to set and add. It says of which
// headers the value is not known.
func (m *mutation) apply(h *stream.Headers) []string {
	for _, name := range m.remove {
		h.Remove(name)
	}
	var unknown []string
	var set, added []stream.Header
	for _, a := range m.add {
		if !a.known {
			unknown = append(unknown, a.field.Name)
			continue
		}
		if a.field.Value == "" && !a.option.GetKeepEmptyValue() {
			continue
		}
		_, has := h.Get(a.field.Name)
		switch sets, does := placed(a.option, has); {
		case !does:
		case sets:
			set = append(set, a.field)
		default:
			added = append(added, a.field)
		}
	}
	for _, f := range set {
		h.Set(f.Name, f.Value)
	}
	for _, f := range added {
		h.Add(f.Name, f.Value)
	}
	return unknown
}

// placed is whether a header is set or added, and whether anything is done at all.
func placed(o *corev3.HeaderValueOption, has bool) (sets, does bool) {
	action := o.GetAppendAction()
	if o.GetAppend() != nil && !o.GetAppend().GetValue() { //nolint:staticcheck // deprecated is still in force
		action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	switch action {
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return false, !has
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return true, has
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return true, true
	}
	return false, true
}

// literal is a value without commands of Envoy's formatter, in which two percent
// signs are one.
func literal(value string) (string, bool) {
	plain := strings.ReplaceAll(value, "%%", "")
	return strings.ReplaceAll(value, "%%", "%"), !strings.Contains(plain, "%")
}
