// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask/explain"
)

func TestWhatPeopleHaveInHandIsRecognised(t *testing.T) {
	for text, want := range map[string]func(*explain.Thing) bool{
		"https://a.example.com/x":      func(x *explain.Thing) bool { return x.URL.Host == "a.example.com" && x.Method == "GET" },
		"POST https://a.example.com/x": func(x *explain.Thing) bool { return x.Method == "POST" },
		"https://a.example.com/x put":  func(x *explain.Thing) bool { return x.Method == "PUT" },
		"route_not_found":              func(x *explain.Thing) bool { return x.Details == "route_not_found" },
		"something_new{why}":           func(x *explain.Thing) bool { return x.Details == "something_new{why}" },
		"ns[a]-policy[b]-rule[3]":      func(x *explain.Thing) bool { return strings.HasSuffix(x.Details, "[ns[a]-policy[b]-rule[3]]") },
		"AuthorizationPolicy a/b/3":    func(x *explain.Thing) bool { return x.Object.Name == "b" && x.Object.Rule == 3 },
		"authorizationpolicy.security.istio.io/b": func(x *explain.Thing) bool {
			return x.Object.Kind == "AuthorizationPolicy" && x.Object.Namespace == "here" && x.Object.Rule == -1
		},
		"virtualservices a/b": func(x *explain.Thing) bool { return x.Object.Kind == "VirtualService" },
		"tapp/shop":           func(x *explain.Thing) bool { return x.Object.Kind == "Application" },
		"shop/cart/pages":     func(x *explain.Thing) bool { return len(x.Route) == 3 && x.Route[2] == "pages" },
	} {
		got, err := explain.ParseThing(strings.Fields(text), "here")
		if err != nil || !want(got) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "foo", "foo bar", "AuthorizationPolicy a/b/c", "AuthorizationPolicy a/b/-1", "https://a.example.com/ fetch it", "http://%zz", `{"method":`} {
		if got, err := explain.ParseThing(strings.Fields(text), "here"); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func FuzzParseThing(f *testing.F) {
	for _, seed := range []string{"https://a/b GET", "AuthorizationPolicy a/b/1", "ns[a]-policy[b]-rule[3]", "a/b/c", `{"method":"GET","response_code":200}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := explain.ParseThing(strings.Fields(text), "here")
		if err == nil && (got == nil || got.URL == nil && got.Details == "" && got.Entry == nil && got.Object == nil && got.Route == nil) {
			t.Fatalf("%q is taken for nothing: %+v", text, got)
		}
	})
}
