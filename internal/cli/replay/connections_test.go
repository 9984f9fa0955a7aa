// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay_test

import (
	"net/url"
	"slices"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	classes "github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// The example with a port without HTTP, and a policy that somebody wrote by hand beside that
// of the Application.
var (
	aPort    = edit{"details/application.yaml", "  - {name: http, port: 9080, protocol: HTTP}\n", "  - {name: http, port: 9080, protocol: HTTP}\n  - {name: db, port: 3306, protocol: TCP}\n"}
	itsPort  = edit{"details/workload.yaml", "  - {name: http, port: 9080, appProtocol: http}\n", "  - {name: http, port: 9080, appProtocol: http}\n  - {name: tcp-db, port: 3306, appProtocol: tcp}\n"}
	byHand   = edit{file: "by-hand.yaml", is: policy("ALLOW", "reviews", "9080")}
	noMore   = edit{file: "by-hand.yaml", is: policy("ALLOW", "ratings", "9080")}
	toTheDB  = edit{file: "by-hand.yaml", is: policy("ALLOW", "reviews", "3306")}
	forAll   = edit{file: "by-hand.yaml", is: policy("ALLOW", "*", "9080")}
	notThese = edit{file: "by-hand.yaml", is: policy("DENY", "productpage", "3306")}
)

// policy is one that is not Trellis's, for an account and a port of the details.
func policy(action, account, port string) string {
	return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-hand, namespace: bookinfo}
spec:
  selector: {matchLabels: {app: details}}
  action: ` + action + `
  rules:
  - from: [{source: {principals: ["cluster.local/ns/bookinfo/sa/` + account + `"]}}]
    to: [{operation: {ports: ["` + port + `"]}}]
`
}

// connections are those to the port without HTTP, as they are counted.
func connections(t *testing.T, m *mesh.Mesh) []counted {
	t.Helper()
	index := counts.IndexOf(m)
	var out []counted
	for _, account := range []string{"productpage", "reviews"} {
		r := &ask.Request{URL: &url.URL{Scheme: "tcp", Host: "details.bookinfo:3306"}, From: &ask.WorkloadRef{Namespace: "bookinfo", Name: account}}
		answer, err := m.Can(r)
		must(t, err)
		e := entryOf(m, "details", answer, accesslog.Entry{Cluster: "inbound|3306||", Peer: "spiffe://cluster.local/ns/bookinfo/sa/" + account})
		e.Code, e.Details = 0, ""
		if answer.Outcome != decide.Allow {
			rule := answer.Steps[len(answer.Steps)-1].Rule
			if decide.PolicyOf(rule) == nil {
				rule = "none"
			}
			e.Termination = "rbac_access_denied_matched_policy[" + rule + "]"
		}
		of := index.Of(e)
		for key := range of.Counted {
			out = append(out, counted{r, answer.Outcome, key})
		}
	}
	return out
}

func TestWhatIsSaidHoldsForConnectionsAndBesideOtherPolicies(t *testing.T) {
	for name, standing := range map[string]edit{"one policy": nothing, "another by hand": byHand} {
		t.Run(name, func(t *testing.T) {
			before := drafted(t, aPort, itsPort, standing)
			asked := append(requests(t, before), connections(t, before)...)
			seen := map[classes.Class]int{}
			for _, draft := range []edit{nothing, anotherCaller, shorterRoute, fewerCalls, byHand, noMore, toTheDB, forAll, notThese, noStatement} {
				edits := []edit{itsPort, standing, draft}
				if draft != noStatement {
					edits = []edit{aPort, itsPort, standing, draft}
				}
				hold(t, before, drafted(t, edits...), asked, draft.file+": "+draft.is, seen)
			}
			if seen[classes.Changed] < 2 || seen[classes.Same] < 2 {
				t.Errorf("it is said too little: %v", seen)
			}
		})
	}
}

func TestWhatIsSaidHoldsForSeveralHostsOfOneRoute(t *testing.T) {
	before := drafted(t, twoHosts)
	asked := requests(t, before, "books.example.com")
	seen := map[classes.Class]int{}
	for _, draft := range []edit{nothing, twoHosts, anotherHost} {
		hold(t, before, drafted(t, draft), asked, draft.is, seen)
	}
	if seen[classes.Changed] < 2 || seen[classes.Same] < 2 {
		t.Errorf("it is said too little: %v", seen)
	}
}

// Drafts of the example with policies.
var (
	tried     = edit{"security/bindings.yaml", "mode: Enforce", "mode: Shadow"}
	enforced  = edit{"security/bindings.yaml", "mode: Shadow", "mode: Enforce"}
	alsoThese = edit{"security/bindings.yaml", "value: [test]", "value: [test, staging]"}
	exempt    = edit{file: "teams/shop/exceptions/production.yaml"}
	relabeled = edit{"platform/namespaces.yaml", "env: test", "env: other"}
	noGoals   = edit{file: "security/bindings.yaml"}
	letIn     = edit{"teams/shop/production/application.yaml", "routes: [help, read, write]}]\n", `routes: [help, read, write]}]
  access:
    callers:
    - {name: tests, peer: {namespace: {name: shop-test}}, authentication: Waived}
    - {name: stages, peer: {namespace: {name: shop-staging}}, authentication: Waived}
`}
)

// calledOf are calls between the shops, and what comes to them from the internet.
func calledOf(t *testing.T, m *mesh.Mesh) []counted {
	t.Helper()
	index := counts.IndexOf(m)
	var out []counted
	add := func(r *ask.Request, namespace, account string, e accesslog.Entry) {
		answer, err := m.Can(r)
		must(t, err)
		if !slices.ContainsFunc(m.Nodes, func(n xds.Node) bool { return n.Namespace == namespace && n.ServiceAccount == account }) {
			t.Fatalf("there is no %s/%s among %v", namespace, account, m.Nodes)
		}
		e.Method, e.Path, e.Authority = r.Method, r.URL.Path, r.URL.Host
		of := index.Of(entryIn(m, namespace, account, answer, e))
		for key := range of.Counted {
			if key.Verdict != hits.WouldDeny {
				out = append(out, counted{r, answer.Outcome, key})
			}
		}
	}
	namespaces := []string{"shop", "shop-staging", "shop-test"}
	for _, method := range []string{"GET", "POST"} {
		for _, path := range []string{"/help", "/orders", "/orders/new", "/orders/1"} {
			for _, to := range namespaces[:2] {
				for _, from := range namespaces {
					u := &url.URL{Scheme: "http", Host: "orders." + to + ":8080", Path: path}
					add(&ask.Request{Method: method, URL: u, From: &ask.WorkloadRef{Namespace: from, Name: "orders"}}, to, "orders", accesslog.Entry{
						Cluster: "inbound|8080||", Peer: "spiffe://cluster.local/ns/" + from + "/sa/orders",
					})
				}
			}
		}
	}
	return out
}

func TestWhatIsSaidHoldsForPoliciesAndExceptions(t *testing.T) {
	for name, standing := range map[string]edit{"as it is": nothing, "all is enforced": enforced} {
		t.Run(name, func(t *testing.T) {
			before := draftedOf(t, "policies", letIn, standing)
			asked := calledOf(t, before)
			seen := map[classes.Class]int{}
			for _, draft := range []edit{nothing, tried, alsoThese, exempt, relabeled, noGoals} {
				edits := []edit{letIn, standing, draft}
				if draft == tried && standing == enforced {
					edits = []edit{letIn, draft}
				}
				hold(t, before, draftedOf(t, "policies", edits...), asked, draft.file+": "+draft.is, seen)
			}
			if seen[classes.Changed]+seen[classes.Depends] < 2 || seen[classes.Same] < 2 {
				t.Errorf("it is said too little: %v", seen)
			}
		})
	}
}
