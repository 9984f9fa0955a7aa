// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay_test

import (
	"net/url"
	"testing"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	classes "github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/decide"
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
