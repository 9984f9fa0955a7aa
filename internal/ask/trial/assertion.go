// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// OfAssertions are the trials of what policies assert of Applications, in order.
// Addresses are the URLs at which an Application is published. An assertion about an
// Application that is not in the World is left out.
func OfAssertions(w *ask.World, asserted []*policy.Assertion, domain string, addresses func(*v1alpha1.Application) []string) []*Trial {
	applications := make(map[[2]string]*v1alpha1.Application, len(w.Applications))
	for _, a := range w.Applications {
		applications[[2]string{a.Namespace, a.Name}] = a
	}
	var out []*Trial
	for _, one := range asserted {
		a := applications[[2]string{one.Subject.Namespace, one.Subject.Application}]
		if a == nil {
			continue
		}
		t := &Trial{
			Name: one.Rule, Of: fmt.Sprintf("Application %s/%s", a.Namespace, a.Name), Field: "spec",
			Expect: one.Expect, Problem: one.Broken, Assertion: one,
		}
		t.Source = w.Origins.Locate(ask.Origin{Object: t.Of, Field: t.Field}).Source
		if t.Problem == "" {
			t.assert(w, a, domain, addresses)
		}
		out = append(out, t)
	}
	return out
}

// assert fills in the requests of an assertion: each with each client and each place
// where the Application answers.
func (t *Trial) assert(w *ask.World, a *v1alpha1.Application, domain string, addresses func(*v1alpha1.Application) []string) {
	senders, targets, empty := places(w, a, t.Assertion, domain, addresses)
	if empty == "" && len(t.Assertion.Requests) == 0 {
		empty = "it names no path"
	}
	if empty != "" {
		t.Vacuous = empty + ", so there is nothing to ask"
		return
	}
	if n := len(senders) * len(targets) * len(t.Assertion.Requests); n > policy.MaxAsserted {
		t.Problem = policy.TooMany(n).Error()
		return
	}
	for _, sender := range senders {
		for _, r := range t.Assertion.Requests {
			request := &v1alpha1.TestRequest{Method: v1alpha1.Method(r.Method), Path: r.Path, Token: t.Assertion.Token}
			asked, err := requestsOf(sender, request, targets)
			if err != nil {
				t.Problem = err.Error()
				return
			}
			t.Requests = append(t.Requests, asked...)
		}
	}
}

// places are the clients of an assertion, and where they ask. Where there is none of
// either, empty says why.
func places(w *ask.World, a *v1alpha1.Application, one *policy.Assertion, domain string, addresses func(*v1alpha1.Application) []string) (senders []*ask.WorkloadRef, targets []string, empty string) {
	if one.Internet {
		for _, address := range addresses(a) {
			if u, err := url.Parse(address); err == nil && !slices.Contains(targets, "https://"+u.Hostname()) {
				targets = append(targets, "https://"+u.Hostname())
			}
		}
		if len(targets) == 0 {
			return nil, nil, "the Application is published at no host"
		}
		return []*ask.WorkloadRef{nil}, targets, ""
	}
	seen := map[[2]string]bool{}
	for _, n := range w.Nodes {
		account := [2]string{n.Namespace, n.ServiceAccount}
		if n.Type == xds.Sidecar && slices.Contains(one.Namespaces, n.Namespace) && !seen[account] {
			seen[account] = true
			senders = append(senders, &ask.WorkloadRef{Namespace: n.Namespace, Name: n.Name})
		}
	}
	for _, p := range a.Spec.HTTPPorts() {
		targets = append(targets, fmt.Sprintf("http://%s.%s.svc.%s:%d", a.Spec.Service, a.Namespace, domain, p.Port))
	}
	switch {
	case len(senders) == 0:
		return nil, nil, "no workload with a sidecar runs in the namespaces that it asks as"
	case len(targets) == 0:
		return nil, nil, "the Application has no port that is not TCP"
	}
	return senders, targets, ""
}

// Tell tells an assertion what came of its trial.
func (r *Result) Tell() {
	answer := &policy.Answer{Says: r.Says}
	switch r.Status {
	case Passed:
		answer.Outcome = policy.Pass
	case Failed:
		answer.Outcome = policy.Fail
	case Unknown:
		answer.Outcome = policy.Unknown
	}
	if r.Request != nil && r.Status != Passed {
		from := "the internet"
		if r.Request.From != nil {
			from = r.Request.From.String()
		}
		answer.Says = fmt.Sprintf("%s %s://%s%s from %s: %s", r.Request.Method, r.Request.URL.Scheme, r.Request.URL.Host, r.Request.Target, from, r.Says)
		answer.Ask = Command(r.Request)
	}
	r.Assertion.Answer = answer
}

// RunAssertions runs what is asserted and tells each assertion what came of it.
func RunAssertions(w *ask.World, asserted []*policy.Assertion, domain string, addresses func(*v1alpha1.Application) []string) {
	for _, t := range OfAssertions(w, asserted, domain, addresses) {
		r := Run(w, t)
		r.Tell()
	}
}
