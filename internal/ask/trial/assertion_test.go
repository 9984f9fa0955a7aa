// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package trial_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask/trial"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/xds"
)

func proxy(kind xds.NodeType, namespace, account, name string) xds.Node {
	return xds.Node{Type: kind, Namespace: namespace, ServiceAccount: account, Name: name}
}

func TestAnAssertionIsAskedByEachAccountOnceAtEachPortOrHost(t *testing.T) {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Spec: v1alpha1.ApplicationSpec{
		Service: "cart", Ports: []v1alpha1.ApplicationPort{{Name: "web", Port: 80, Protocol: "HTTP"}, {Name: "rpc", Port: 90, Protocol: "GRPC"}, {Name: "db", Port: 5432, Protocol: "TCP"}},
	}}
	crowd := func(n int) []xds.Node {
		var out []xds.Node
		for i := range n {
			out = append(out, proxy(xds.Sidecar, "test", fmt.Sprintf("account-%d", i), fmt.Sprintf("pod-%d", i)))
		}
		return out
	}
	get := []policy.AssertedRequest{{Method: "GET", Path: "/a"}}
	of := func(change func(*policy.Assertion)) *policy.Assertion {
		a := &policy.Assertion{
			Rule: "rule", Subject: policy.Subject{Namespace: "shop", Application: "cart"}, Namespaces: []string{"test"}, Requests: get,
			Expect: v1alpha1.TestExpectation{Verdict: v1alpha1.VerdictDeny},
		}
		if change != nil {
			change(a)
		}
		return a
	}
	internet := func(a *policy.Assertion) { a.Internet, a.Namespaces = true, nil }
	for _, c := range []struct {
		name      string
		of        *policy.Assertion
		nodes     []xds.Node
		addresses []string
		requests  int
		// status is that without any request to ask; says why.
		status trial.Status
		says   string
	}{
		{"one account with two pods, two ports", of(nil), []xds.Node{proxy(xds.Sidecar, "test", "a", "1"), proxy(xds.Sidecar, "test", "a", "2")}, nil, 2, "", ""},
		{"two accounts", of(nil), crowd(2), nil, 4, "", ""},
		{"accounts of other namespaces", of(nil), []xds.Node{proxy(xds.Sidecar, "prod", "a", "1")}, nil, 0, trial.Passed, "no workload with a sidecar runs in the namespaces"},
		{"gateways", of(nil), []xds.Node{proxy(xds.Router, "test", "a", "1"), proxy(xds.Waypoint, "test", "b", "2")}, nil, 0, trial.Passed, "no workload with a sidecar"},
		{"too many accounts", of(nil), crowd(policy.MaxAsserted/2 + 1), nil, 0, trial.Unknown, "it would send 258 requests, and at most 256"},
		{"two URLs of one host", of(internet), nil, []string{"https://a.example.com/x", "https://a.example.com/y", "https://b.example.com"}, 2, "", ""},
		{"no host", of(internet), nil, nil, 0, trial.Passed, "it holds: the Application is published at no host"},
		{"no path", of(func(a *policy.Assertion) { a.Requests = nil }), crowd(1), nil, 0, trial.Passed, "it names no path"},
		{"an expression that fails", of(func(a *policy.Assertion) { a.Broken = "its when gives an error" }), crowd(1), nil, 0, trial.Unknown, "its when gives an error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := empty()
			w.Applications, w.Nodes = []*v1alpha1.Application{app}, c.nodes
			got := trial.OfAssertions(w, []*policy.Assertion{c.of}, "cluster.local", func(*v1alpha1.Application) []string { return c.addresses })
			if len(got) != 1 || len(got[0].Requests) != c.requests {
				t.Fatalf("%+v", got)
			}
			if c.requests > 0 {
				return
			}
			r := trial.Run(w, got[0])
			if r.Status != c.status || !strings.Contains(r.Says, c.says) {
				t.Errorf("%s: %s", r.Status, r.Says)
			}
			r.Tell()
			if want := map[trial.Status]policy.Outcome{trial.Passed: policy.Pass, trial.Unknown: policy.Unknown}[c.status]; c.of.Answer.Outcome != want {
				t.Errorf("it is told %+v", c.of.Answer)
			}
		})
	}
	if got := trial.OfAssertions(empty(), []*policy.Assertion{of(nil)}, "cluster.local", nil); len(got) != 0 {
		t.Error("an Application that is not there is asked")
	}
}
