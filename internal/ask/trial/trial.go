// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package trial runs tests of access: requests with what must become of them, as
// Applications state them or as they stand in files of their own. A test passes
// only where every request of it is known to end as expected, on every branch that
// chance may take.
package trial

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Trial is one test, ready to be run.
type Trial struct {
	Name string
	// Of is the object or file that states it, Field its place there, and Source
	// its line where that is known.
	Of, Field, Source string
	// Requests must all end as expected.
	Requests []*ask.Request
	Expect   v1alpha1.TestExpectation
	// Problem says why it cannot be run; empty for none.
	Problem string
	// Vacuous says why there is nothing to ask, where it holds for that reason.
	Vacuous string
	// Assertion is what a policy asserts; nil for a test.
	Assertion *policy.Assertion
}

// Status is what came of a test.
type Status string

// The statuses. Unknown is not passed.
const (
	Passed  Status = "Passed"
	Failed  Status = "Failed"
	Unknown Status = "Unknown"
)

// Result is a test that was run.
type Result struct {
	*Trial
	Status Status
	// Says is why it did not pass, or why there was nothing to ask.
	Says string
	// Request and Answer are those that it hangs on: the first that did not end as
	// expected, else the first; nil where none could be asked.
	Request *ask.Request
	Answer  *ask.Answer
}

// Run runs a test.
func Run(w *ask.World, t *Trial) Result {
	out := Result{Trial: t, Status: Passed}
	if t.Problem == "" && t.Vacuous != "" {
		out.Says = "it holds: " + t.Vacuous
		return out
	}
	if t.Problem != "" || len(t.Requests) == 0 {
		out.Status, out.Says = Unknown, cmp.Or(t.Problem, "it has no request")
		return out
	}
	for _, r := range t.Requests {
		answer, err := w.Can(r)
		if err != nil {
			out.Status, out.Says, out.Request = Unknown, err.Error(), r
			return out
		}
		if out.Answer == nil {
			out.Request, out.Answer = r, answer
		}
		if status, says := t.judge(&answer.Verdict); status != Passed {
			out.Status, out.Says, out.Request, out.Answer = status, says, r, answer
			if status == Failed {
				return out
			}
		}
	}
	return out
}

// judge holds a verdict to what was expected; every branch of it.
func (t *Trial) judge(v *decide.Verdict) (Status, string) {
	expect := t.Expect
	for i := range v.Branches {
		if status, says := t.judge(&v.Branches[i].Verdict); status != Passed {
			return status, fmt.Sprintf("in %.0f%% of the cases: %s", v.Branches[i].Share*100, says)
		}
	}
	got := string(v.Outcome)
	code := 0
	if v.Reply != nil && v.Reply.Code > 0 {
		code = v.Reply.Code
		got = fmt.Sprintf("%s %d", got, code)
	}
	want := string(expect.Verdict)
	if expect.Code > 0 {
		want = fmt.Sprintf("%s %d", want, expect.Code)
	}
	switch {
	case v.Outcome == decide.Unknown:
		return Unknown, "it cannot be told: " + v.Why
	case t.Assertion != nil && expect == (v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny}) && v.Outcome == decide.NoRoute:
		// Where nothing is published nobody is let in: a policy knows no routes.
		return Passed, ""
	case string(v.Outcome) != string(expect.Verdict), expect.Code > 0 && code != int(expect.Code):
		return Failed, fmt.Sprintf("it is %s, and %s was expected", got, want)
	}
	return Passed, ""
}

// OfApplications are the tests that Applications state, in order. Addresses are
// the URLs at which one is published; domain is the DNS suffix of Services.
func OfApplications(w *ask.World, domain string, addresses func(*v1alpha1.Application) []string) []*Trial {
	var out []*Trial
	for _, a := range w.Applications {
		for i := range a.Spec.Tests {
			t := &a.Spec.Tests[i]
			one := &Trial{
				Name: t.Name, Of: fmt.Sprintf("Application %s/%s", a.Namespace, a.Name),
				Field: fmt.Sprintf("spec.tests[%d]", i), Expect: t.Expect,
			}
			one.Source = w.Origins.Locate(ask.Origin{Object: one.Of, Field: one.Field}).Source
			targets, err := targetsOf(a, t, domain, addresses(a))
			if err == nil {
				one.Requests, err = requests(w, t.From, &t.Request, targets)
			}
			if err != nil {
				one.Problem = err.Error()
			}
			out = append(out, one)
		}
	}
	return out
}

// targetsOf are the scheme and host that a test of an Application asks for.
func targetsOf(a *v1alpha1.Application, t *v1alpha1.AccessTest, domain string, addresses []string) ([]string, error) {
	if t.From.Internet != nil {
		scheme := cmp.Or(string(t.Request.Scheme), "https")
		if t.Request.Host != "" {
			return []string{scheme + "://" + t.Request.Host}, nil
		}
		var out []string
		for _, address := range addresses {
			u, err := url.Parse(address)
			if err != nil {
				return nil, fmt.Errorf("reading the address %q: %w", address, err)
			}
			if target := scheme + "://" + u.Hostname(); !slices.Contains(out, target) {
				out = append(out, target)
			}
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("it names no host, and the Application is published at none")
		}
		return out, nil
	}
	ports := a.Spec.HTTPPorts()
	if t.Request.Port != "" {
		ports = slices.DeleteFunc(ports, func(p v1alpha1.ApplicationPort) bool { return p.Name != t.Request.Port })
	}
	if len(ports) != 1 {
		return nil, fmt.Errorf("it names no port, and the Application has %d that are not TCP", len(ports))
	}
	return []string{fmt.Sprintf("http://%s.%s.svc.%s:%d", a.Spec.Service, a.Namespace, domain, ports[0].Port)}, nil
}

// requests are those of a test, one for each target.
func requests(w *ask.World, from v1alpha1.TestClient, request *v1alpha1.TestRequest, targets []string) ([]*ask.Request, error) {
	sender, err := senderOf(w, from)
	if err != nil {
		return nil, err
	}
	return requestsOf(sender, request, targets)
}

// requestsOf are the same request to each target.
func requestsOf(sender *ask.WorkloadRef, request *v1alpha1.TestRequest, targets []string) ([]*ask.Request, error) {
	claims, err := claimsOf(request.Token)
	if err != nil {
		return nil, err
	}
	var out []*ask.Request
	for _, target := range targets {
		r := &ask.Request{From: sender, Method: string(request.Method), Target: request.Path, Claims: claims}
		if r.URL, err = url.Parse(target + request.Path); err != nil {
			// A path that no URL can have is sent as it is written.
			if r.URL, err = url.Parse(target); err != nil {
				return nil, fmt.Errorf("reading the host: %w", err)
			}
			r.URL.Path = request.Path
		}
		for _, h := range request.Headers {
			r.Headers = append(r.Headers, stream.Header{Name: string(h.Name), Value: h.Value})
		}
		out = append(out, r)
	}
	return out, nil
}

// senderOf finds the workload that a test comes from; nil is the internet.
func senderOf(w *ask.World, from v1alpha1.TestClient) (*ask.WorkloadRef, error) {
	switch {
	case from.Internet != nil:
		return nil, nil
	case from.Application != nil:
		for _, a := range w.Applications {
			if a.Namespace == string(from.Application.Namespace) && a.Name == from.Application.Name {
				return &ask.WorkloadRef{Namespace: a.Namespace, Name: a.Spec.Service}, nil
			}
		}
		return nil, fmt.Errorf("it comes from Application %s/%s, which does not exist", from.Application.Namespace, from.Application.Name)
	case from.ServiceAccount != nil:
		for _, n := range w.Nodes {
			if n.Namespace == string(from.ServiceAccount.Namespace) && n.ServiceAccount == from.ServiceAccount.Name {
				return &ask.WorkloadRef{Namespace: n.Namespace, Name: n.Name}, nil
			}
		}
		return nil, fmt.Errorf("no workload with a proxy runs as ServiceAccount %s/%s", from.ServiceAccount.Namespace, from.ServiceAccount.Name)
	}
	return nil, fmt.Errorf("it does not say who sends the request: from takes internet, application or serviceAccount")
}

// claimsOf is what a token of a test holds; nil without one.
func claimsOf(t *v1alpha1.TestToken) (*structpb.Struct, error) {
	if t == nil {
		return nil, nil
	}
	claims := map[string]any{"iss": t.Issuer, "sub": cmp.Or(t.Subject, "test")}
	if len(t.Audiences) > 0 {
		claims["aud"] = oneOrMany(t.Audiences)
	}
	if len(t.Scopes) > 0 {
		var scopes []string
		for _, s := range t.Scopes {
			scopes = append(scopes, string(s))
		}
		claims["scope"] = strings.Join(scopes, " ")
	}
	for _, c := range t.Claims {
		at := claims
		for _, part := range c.Path[:max(len(c.Path)-1, 0)] {
			below, ok := at[part].(map[string]any)
			if !ok {
				if at[part] != nil {
					return nil, fmt.Errorf("the claim %s is below %q, which is no object", c.Name, part)
				}
				below = map[string]any{}
				at[part] = below
			}
			at = below
		}
		if len(c.Path) == 0 || at[c.Path[len(c.Path)-1]] != nil {
			return nil, fmt.Errorf("the claim %s has no path, or is there already", c.Name)
		}
		at[c.Path[len(c.Path)-1]] = oneOrMany(c.Values)
	}
	return structpb.NewStruct(claims)
}

// oneOrMany is a string where there is one value, and a list of several.
func oneOrMany[T ~string](values []T) any {
	if len(values) == 1 {
		return string(values[0])
	}
	var out []any
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
