// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package bounds knows which values expressions may give, beside their type. It is pure.
package bounds

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxScopes is what an Application may state for a route, and maxScopeLength for one of them.
const maxScopes, maxScopeLength = 16, 256

// Scopes are those of a contribution, each once and in order. Each is a rule for each route,
// and none is more to proxies than to who reads it.
func Scopes(scopes []string) ([]string, error) {
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	if len(scopes) > maxScopes {
		return nil, fmt.Errorf("it asks for %d scopes, and at most %d can be asked for", len(scopes), maxScopes)
	}
	for _, s := range scopes {
		if s == "" || len(s) > maxScopeLength || strings.ContainsFunc(s, func(r rune) bool { return r == '*' || unicode.IsSpace(r) || unicode.IsControl(r) }) {
			return nil, fmt.Errorf("%.64q is no scope: it has at most %d characters, no space, and no asterisk, which proxies read as any text", s, maxScopeLength)
		}
	}
	return scopes, nil
}

// Timeouts are the greatest one and the one of who states none; zero where that is not said.
func Timeouts(maximum, fallback time.Duration) error {
	for _, d := range []time.Duration{maximum, fallback} {
		switch {
		case d < 0:
			return fmt.Errorf("a timeout is not negative")
		case d%time.Millisecond != 0:
			// Istio refuses the whole VirtualService.
			return fmt.Errorf("%s is no whole number of milliseconds, which Istio asks of a timeout", d)
		}
	}
	if maximum == 0 && fallback == 0 {
		return fmt.Errorf("it is 0s, which would bound nothing")
	}
	return nil
}

// maxPath is how long a path may be, as in spec.tests of Applications.
const maxPath = 2048

// methods are all that there are.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// Requests are those of an assertion, each method with each path.
func Requests(asked, paths []string) error {
	for _, m := range asked {
		if !slices.Contains(methods, m) {
			return fmt.Errorf("%q is none of the methods %s", m, strings.Join(methods, ", "))
		}
	}
	for _, p := range paths {
		if !strings.HasPrefix(p, "/") || len(p) > maxPath || strings.ContainsFunc(p, func(r rune) bool { return r < '!' || r > '~' }) {
			return fmt.Errorf("%.64q is no path: it begins with /, has at most %d characters and no space", p, maxPath)
		}
	}
	return nil
}

// Once are the texts without repetition, in their order.
func Once(texts []string) []string {
	var out []string
	for _, t := range texts {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}
