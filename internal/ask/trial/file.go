// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"fmt"
	"net/url"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
)

// MaxTests is how many tests one file may have.
const MaxTests = 10_000

// file is a file of tests that belong to no Application: those of a platform or of
// a security officer.
type file struct {
	Tests []fileTest `json:"tests"`
}

type fileTest struct {
	Name    string                   `json:"name"`
	From    v1alpha1.TestClient      `json:"from"`
	Request fileRequest              `json:"request"`
	Expect  v1alpha1.TestExpectation `json:"expect"`
}

type fileRequest struct {
	Method  v1alpha1.Method       `json:"method,omitempty"`
	URL     string                `json:"url"`
	Headers []v1alpha1.TestHeader `json:"headers,omitempty"`
	Token   *v1alpha1.TestToken   `json:"token,omitempty"`
}

var verdicts = map[v1alpha1.TestVerdict]bool{
	v1alpha1.VerdictAllow: true, v1alpha1.VerdictDeny: true, v1alpha1.VerdictAnswered: true, v1alpha1.VerdictNoRoute: true, v1alpha1.VerdictFails: true,
}

// OfFile are the tests of a file, in YAML or JSON. Unknown fields are errors: a
// test that says something which nobody reads is worse than none.
func OfFile(w *ask.World, name string, raw []byte) ([]*Trial, error) {
	var f file
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		return nil, fmt.Errorf("reading tests of %s: %w", name, err)
	}
	if len(f.Tests) > MaxTests {
		return nil, fmt.Errorf("reading tests of %s: there are %d, and at most %d are taken", name, len(f.Tests), MaxTests)
	}
	seen := map[string]bool{}
	var out []*Trial
	for i := range f.Tests {
		t := &f.Tests[i]
		at := fmt.Sprintf("tests[%d]", i)
		u, err := url.Parse(t.Request.URL)
		switch {
		case err != nil:
			return nil, fmt.Errorf("reading %s of %s: %w", at, name, err)
		case t.Name == "" || seen[t.Name]:
			return nil, fmt.Errorf("reading %s of %s: every test has a name of its own", at, name)
		case !verdicts[t.Expect.Verdict]:
			return nil, fmt.Errorf("reading %s of %s: expect.verdict %q is none of Allow, Deny, Answered, NoRoute and Fails", at, name, t.Expect.Verdict)
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return nil, fmt.Errorf("reading %s of %s: request.url %q is no http or https URL with a host", at, name, t.Request.URL)
		case t.Expect.Code != 0 && t.Expect.Verdict == v1alpha1.VerdictAllow:
			return nil, fmt.Errorf("reading %s of %s: the application answers what is allowed, so no code can be expected", at, name)
		}
		seen[t.Name] = true
		one := &Trial{Name: t.Name, Of: name, Field: at, Source: name, Expect: t.Expect}
		request := &v1alpha1.TestRequest{Method: t.Request.Method, Path: u.RequestURI(), Headers: t.Request.Headers, Token: t.Request.Token}
		if one.Requests, err = requests(w, t.From, request, []string{u.Scheme + "://" + u.Host}); err != nil {
			one.Problem = err.Error()
		}
		out = append(out, one)
	}
	return out, nil
}
