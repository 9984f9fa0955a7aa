// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Path is a compiled PathMatcher: a string matcher on the path without query and
// fragment.
type Path struct{ text *Text }

// NewPath compiles a PathMatcher. It fails where Envoy refuses the matcher.
func NewPath(m *matcherv3.PathMatcher) (*Path, error) {
	if m.GetPath() == nil {
		return nil, fmt.Errorf("compiling a path matcher: %w", errNothing)
	}
	text, err := NewText(m.GetPath())
	if err != nil {
		return nil, fmt.Errorf("compiling a path matcher: %w", err)
	}
	return &Path{text: text}, nil
}

// Match compares the path of a :path header, which may have a query.
func (p *Path) Match(path string) Answer { return p.text.Match(WithoutQuery(path)) }

// Paths matches where one of them does.
type Paths []*Path

// Match compares the path of a :path header, which may have a query.
func (ps Paths) Match(path string) Answer {
	path = WithoutQuery(path)
	out := No
	for _, p := range ps {
		switch a := p.text.Match(path); {
		case a.Truth == True:
			return Yes
		case a.Truth == Unknown && out.Truth == False:
			out = a
		}
	}
	return out
}

// WithoutQuery is a :path header without its query and fragment.
func WithoutQuery(path string) string {
	for i := range len(path) {
		if path[i] == '?' || path[i] == '#' {
			return path[:i]
		}
	}
	return path
}

// Template is a compiled envoy.path.match.uri_template.uri_template_matcher:
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/path/match/uri_template/v3/uri_template_match.proto
type Template struct {
	compiled *regexp.Regexp
	why      string // it is another extension
}

// NewTemplate compiles a path matcher that is an extension. Other extensions
// than the template are Unknown. It fails where Envoy refuses the template.
func NewTemplate(c *corev3.TypedExtensionConfig) (*Template, error) {
	m := &templatev3.UriTemplateMatchConfig{}
	if !c.GetTypedConfig().MessageIs(m) {
		return &Template{why: "the path matcher " + c.GetName() + " is an extension that is not known here"}, nil
	}
	if err := c.GetTypedConfig().UnmarshalTo(m); err != nil {
		return nil, fmt.Errorf("reading the path template %s: %w", c.GetName(), err)
	}
	expression, err := templateExpression(m.GetPathTemplate())
	if errors.Is(err, errRest) || errors.Is(err, errStar) {
		return &Template{why: fmt.Sprintf("of the path template %q: %v", m.GetPathTemplate(), err)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("compiling the path template %q: %w", m.GetPathTemplate(), err)
	}
	compiled, err := regexp.Compile(`\A` + expression + `\z`)
	if err != nil {
		return nil, fmt.Errorf("compiling the path template %q: %w", m.GetPathTemplate(), err)
	}
	return &Template{compiled: compiled}, nil
}

// Match compares the path of a :path header, which may have a query.
func (t *Template) Match(path string) Answer {
	if t.compiled == nil {
		return Cannot(t.why)
	}
	return Is(t.compiled.MatchString(WithoutQuery(path)))
}

const (
	// templateCharacters are those of a path segment (RFC 3986, pchar).
	templateCharacters = `a-zA-Z0-9\-._~%!$&'()*+,;=:@`
	maximumTemplate    = 4096 // bytes
	maximumVariables   = 5
	maximumName        = 16 // bytes of a variable
)

var (
	templateLiteral  = regexp.MustCompile(`\A[` + templateCharacters + `]+\z`)
	templateRest     = regexp.MustCompile(`\A[` + templateCharacters + `]*/[` + templateCharacters + `/]*\z`)
	templateVariable = regexp.MustCompile(`\A[a-zA-Z][a-zA-Z0-9_]*\z`)
	templateText     = regexp.MustCompile(`\A/[[:graph:]]*\z`)
)

// These are no refusals: such a template is Unknown.
var (
	errRest = errors.New("more than one segment follows a glob")
	errStar = errors.New("a star is beside other text")
)

// template is the state of reading one.
type template struct {
	names map[string]bool
	// afterText: "**" was seen, behind which no glob may follow.
	afterText bool
}

// templateExpression is the regular expression that a template stands for.
func templateExpression(text string) (string, error) {
	if len(text) > maximumTemplate {
		return "", fmt.Errorf("it has more than %d bytes", maximumTemplate)
	}
	if !templateText.MatchString(text) {
		return "", errors.New("it does not begin with a slash, or has spaces")
	}
	t := &template{names: map[string]bool{}}
	var out strings.Builder
	for rest := text[1:]; ; {
		out.WriteByte('/')
		if rest == "" {
			return out.String(), nil
		}
		part, after, err := t.segment(rest)
		if err != nil {
			return "", err
		}
		out.WriteString(part)
		if after == "" {
			return out.String(), nil
		}
		if after[0] != '/' {
			// What follows an operator without a slash ends the template. Envoy takes
			// slashes there too, and what it means by them is not written anywhere.
			if templateRest.MatchString(after) {
				return "", errRest
			}
			if strings.Contains(after, "*") {
				return "", errStar
			}
			if !templateLiteral.MatchString(after) {
				return "", fmt.Errorf("%q cannot follow a glob", after)
			}
			return out.String() + regexp.QuoteMeta(after), nil
		}
		rest = after[1:]
	}
}

// segment reads one segment and gives its expression and what follows it.
func (t *template) segment(text string) (string, string, error) {
	switch text[0] {
	case '*':
		return t.glob(text)
	case '{':
		inside, after, closed := strings.Cut(text[1:], "}")
		if !closed {
			return "", "", errors.New("a brace is not closed")
		}
		part, err := t.variable(inside)
		return part, after, err
	}
	return literal(text)
}

func literal(text string) (string, string, error) {
	end := strings.IndexByte(text, '/')
	if end < 0 {
		end = len(text)
	}
	if !templateLiteral.MatchString(text[:end]) {
		return "", "", fmt.Errorf("the segment %q has characters that it may not have", text[:end])
	}
	if strings.Contains(text[:end], "*") {
		// Envoy takes it and makes it part of the expression, unquoted.
		return "", "", errStar
	}
	return regexp.QuoteMeta(text[:end]), text[end:], nil
}

func (t *template) glob(text string) (string, string, error) {
	if t.afterText {
		return "", "", errors.New("a glob follows **")
	}
	if after, ok := strings.CutPrefix(text, "**"); ok {
		t.afterText = true
		return "[" + templateCharacters + "/]*", after, nil
	}
	return "[" + templateCharacters + "]+", text[1:], nil
}

// variable reads what is between braces: a name, and what it matches unless that
// is one segment.
func (t *template) variable(text string) (string, error) {
	name, pattern, given := strings.Cut(text, "=")
	if !templateVariable.MatchString(name) || len(name) > maximumName || t.names[name] {
		return "", fmt.Errorf("the variable name %q is not allowed or not new", name)
	}
	if len(t.names) >= maximumVariables {
		return "", fmt.Errorf("it has more than %d variables", maximumVariables)
	}
	t.names[name] = true
	if !given {
		pattern = "*"
	}
	if pattern == "" {
		return "", fmt.Errorf("the variable %s matches nothing", name)
	}
	var out strings.Builder
	for {
		read := literal
		if pattern[0] == '*' {
			read = t.glob
		}
		part, after, err := read(pattern)
		if err != nil {
			return "", err
		}
		out.WriteString(part)
		if after == "" {
			return out.String(), nil
		}
		if after[0] != '/' || after == "/" {
			return "", fmt.Errorf("the pattern of the variable %s is none", name)
		}
		out.WriteByte('/')
		pattern = after[1:]
	}
}
