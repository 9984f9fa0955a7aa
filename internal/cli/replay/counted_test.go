// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package replay_test

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	classes "github.com/trellis-mesh/trellis/internal/ask/replay"
	"github.com/trellis-mesh/trellis/internal/cli/counts"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/replay"
	"github.com/trellis-mesh/trellis/internal/cli/source"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/recount"
	"github.com/trellis-mesh/trellis/internal/xds"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// edit is a text in a file of the example, and what a draft has in its place: without a text
// it is the whole file, and with neither there is no file.
type edit struct{ file, was, is string }

// drafted is the example with edits.
func drafted(t *testing.T, edits ...edit) *mesh.Mesh { return draftedOf(t, "bookinfo", edits...) }

func draftedOf(t *testing.T, example string, edits ...edit) *mesh.Mesh {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS("../../../examples/"+example)))
	for _, e := range edits {
		name := filepath.Join(dir, e.file)
		switch {
		case e.file == "":
			continue
		case e.was == "" && e.is == "":
			must(t, os.Remove(name))
			continue
		case e.was == "":
			must(t, os.WriteFile(name, []byte(e.is), 0o600))
			continue
		}
		text, err := os.ReadFile(name)
		must(t, err)
		if !strings.Contains(string(text), e.was) {
			t.Fatalf("%s has no %q", e.file, e.was)
		}
		must(t, os.WriteFile(name, []byte(strings.Replace(string(text), e.was, e.is, 1)), 0o600))
	}
	m, err := mesh.Open(t.Context(), &source.Options{Files: []string{dir}}, nil, noon)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Drafts that change who may do what.
var (
	nothing       = edit{}
	anotherCaller = edit{"details/application.yaml", "name: productpage, namespace: bookinfo", "name: reviews, namespace: bookinfo"}
	shorterRoute  = edit{"details/application.yaml", "prefix: /details", "prefix: /details/1"}
	login         = edit{"productpage/application.yaml", "authentication: {mode: None}", "authentication: {mode: Required}"}
	noLogin       = edit{"productpage/application.yaml", "authentication: {mode: Required}\n", "authentication: {mode: None}\n"}
	permissive    = edit{"details/application.yaml", "mutualTLS: Strict", "mutualTLS: Permissive"}
	fewerCalls    = edit{"productpage/application.yaml", "    mutualTLS: Strict\n", "    mutualTLS: Strict\n    calls: [{name: reviews, peer: {application: {name: reviews, namespace: bookinfo}}}]\n"}
	noStatement   = edit{file: "details/application.yaml"}
	noPages       = edit{file: "productpage/application.yaml"}
	noIngress     = edit{file: "platform/secure-ingress.yaml"}
	noGateway     = edit{file: "platform/gateway.yaml"}
	anotherHost   = edit{"productpage/application.yaml", "hostnames: [bookinfo]", "hostnames: [books]"}
	twoHosts      = edit{"productpage/application.yaml", "hostnames: [bookinfo]", "hostnames: [bookinfo, books]"}
	readOnly      = edit{"productpage/application.yaml", "methods: [GET, HEAD]", "methods: [GET]"}
)

// Keys that trellis-server has of the example.
var (
	pages     = hits.Key{Namespace: "bookinfo", Application: "productpage", Route: "pages", Place: hits.Gateway, Rule: -1, Verdict: hits.Allowed, Peer: hits.Internet}
	noToken   = hits.Key{Namespace: "bookinfo", Application: "productpage", Route: "catalogue", Place: hits.Gateway, Rule: -1, Statement: "Application bookinfo/productpage", Field: "spec.routes[1].authentication", Verdict: hits.Denied, Peer: hits.Internet}
	called    = hits.Key{Namespace: "bookinfo", Application: "details", Route: "details", Place: hits.Workload, Rule: -1, Statement: "Application bookinfo/details", Field: "spec.access.callers[0]", Verdict: hits.Allowed, Peer: "bookinfo/productpage"}
	refused   = hits.Key{Namespace: "bookinfo", Application: "details", Route: "details", Place: hits.Workload, Rule: -1, Verdict: hits.Denied, Peer: "bookinfo/reviews"}
	somebody  = hits.Key{Namespace: "bookinfo", Application: "details", Route: "details", Place: hits.Workload, Rule: -1, Verdict: hits.Denied, Peer: hits.Other}
	elsewhere = hits.Key{Namespace: "bookinfo", Application: "ratings", Route: "ratings", Place: hits.Workload, Rule: -1, Verdict: hits.Allowed, Peer: "bookinfo/reviews"}
	failed    = hits.Key{Namespace: "bookinfo", Application: "details", Place: hits.Workload, Rule: -1, Reason: "ConnectionRefused", Verdict: hits.Failed, Peer: "bookinfo/reviews"}
	plaintext = hits.Key{Namespace: "bookinfo", Application: "details", Place: hits.Workload, Rule: -1, Statement: "Application bookinfo/details", Field: "spec.access.mutualTLS", Reason: "PlaintextToStrict", Verdict: hits.Failed, Peer: "none"}
	badToken  = hits.Key{Namespace: "bookinfo", Application: "productpage", Route: "pages", Place: hits.Gateway, Rule: -1, Statement: "SecureIngress istio-ingress/public", Field: "spec.identityProviders[0]", Reason: "TokenRefused", Verdict: hits.Denied, Peer: hits.Internet}
	notServed = hits.Key{Place: hits.Gateway, Rule: -1, Reason: "HostNotServed", Verdict: hits.Failed, Peer: hits.Internet}
	dropped   = hits.Key{Place: hits.Workload, Rule: -1, Reason: hits.Dropped, Verdict: hits.Denied}
	wouldBe   = hits.Key{Namespace: "bookinfo", Application: "details", Place: hits.Workload, Rule: -1, Verdict: hits.WouldDeny, Peer: "bookinfo/reviews"}
)

func TestCountsAreJudgedByWhatTheirRequestsWouldDo(t *testing.T) {
	before := drafted(t, nothing)
	for name, c := range map[string]struct {
		draft edit
		key   hits.Key
		want  classes.Class
		why   string
	}{
		"nothing changes":                                  {nothing, called, classes.Same, ""},
		"a caller that is taken away":                      {anotherCaller, called, classes.Changed, "callers"},
		"a caller that is let in by some methods":          {anotherCaller, refused, classes.Depends, "reaches the workload"},
		"callers of whom some are let in":                  {anotherCaller, somebody, classes.Depends, ""},
		"the draft is about another Application":           {anotherCaller, pages, classes.Same, ""},
		"a call that its own proxy lets out no more":       {fewerCalls, called, classes.Changed, "own proxy lets out only"},
		"all but place and verdict was given up":           {anotherCaller, dropped, classes.Depends, ""},
		"a route that has fewer paths":                     {shorterRoute, called, classes.Depends, ""},
		"a login is asked for, and a count keeps no token": {login, pages, classes.Depends, "a token is needed"},
		"a login is asked for no longer":                   {noLogin, noToken, classes.Changed, "reaches the workload"},
		"one method of two is taken away":                  {readOnly, pages, classes.Depends, ""},
		"nobody is there now who counted it":               {login, elsewhere, classes.Unknown, "no kind of request is known"},
		"it failed at a workload that changes":             {anotherCaller, failed, classes.Unknown, "failed on its way"},
		"it failed at a workload that does not":            {login, failed, classes.Same, ""},
		"plaintext goes on being refused":                  {anotherCaller, plaintext, classes.Same, ""},
		"plaintext is taken, and refused by a rule":        {permissive, plaintext, classes.Changed, "rbac_access_denied"},
		"a token was refused by a gateway that changes":    {login, badToken, classes.Same, ""},
		"a token was refused by a gateway that does not":   {anotherCaller, badToken, classes.Same, ""},
		"a host that no gateway has":                       {anotherCaller, notServed, classes.Same, ""},
		"a host that a gateway may have now":               {login, notServed, classes.Unknown, "failed on its way"},
	} {
		t.Run(name, func(t *testing.T) {
			found := replay.Recounted(before, drafted(t, c.draft), []hits.Total{{Key: c.key, N: 7}, {Key: wouldBe, N: 1}})
			if len(found.Notes) > 0 {
				t.Errorf("it is incomplete: %s", found.Notes)
			}
			if c.want == classes.Same {
				if found.Same != 7 || len(found.Groups) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found.Groups) != 1 || found.Groups[0].Class != c.want || found.Groups[0].N != 7 || !strings.Contains(found.Groups[0].Why, c.why) {
				t.Fatalf("found %+v", found.Groups)
			}
			if g := found.Groups[0]; c.want == classes.Depends && (g.Changes == nil || g.Stays == nil) && c.key != dropped {
				t.Errorf("it shows %v and %v", g.Changes, g.Stays)
			}
		})
	}
}

// TestCallsThatWereNotLetOutDependOnWhereTheyWent: they are counted at the caller, and no count
// says who was called.
func TestCallsThatWereNotLetOutDependOnWhereTheyWent(t *testing.T) {
	before, after := drafted(t, fewerCalls), drafted(t, nothing)
	node := before.Nodes[slices.IndexFunc(before.Nodes, func(n xds.Node) bool { return n.ServiceAccount == "productpage" })]
	of := counts.IndexOf(before).Of(&accesslog.Entry{
		Writer: accesslog.Writer{Namespace: node.Namespace, Pod: node.Name}, Method: "GET", Authority: "details", Path: "/", Cluster: "BlackHoleCluster", Route: "block_all", Code: 502, Details: "direct_response",
	})
	if of.Verdict != hits.Denied || of.Statement == "" {
		t.Fatalf("it is counted as %+v", of)
	}
	totals := []hits.Total{{Key: of.Key, N: 3}}
	if found := replay.Recounted(before, after, totals); found.Depends != 3 || found.Groups[0].Changes == nil || found.Groups[0].Now == "Deny" {
		t.Errorf("what is let out now is %+v", found)
	}
	if found := replay.Recounted(before, before, totals); found.Same != 3 {
		t.Errorf("what is not is %+v", found)
	}
}

// TestWhatIsSaidOfCountsHoldsForEachRequest decides requests, counts them as their proxies
// would, and holds what is said of the counts to what becomes of each of them.
func TestWhatIsSaidOfCountsHoldsForEachRequest(t *testing.T) {
	before := drafted(t, nothing)
	asked := requests(t, before)
	seen := map[classes.Class]int{}
	for _, e := range []edit{nothing, anotherCaller, shorterRoute, login, noLogin, readOnly, fewerCalls, noStatement, noPages, noIngress, noGateway, anotherHost, twoHosts} {
		hold(t, before, drafted(t, e), asked, e.file+": "+e.is, seen)
	}
	for _, class := range []classes.Class{classes.Same, classes.Changed, classes.Depends} {
		if seen[class] < 5 {
			t.Errorf("of only %d requests it is said %s", seen[class], class)
		}
	}
}

// hold holds what is said of requests to what becomes of them.
func hold(t *testing.T, before, after *mesh.Mesh, asked []counted, name string, seen map[classes.Class]int) {
	t.Helper()
	report := replay.Recounted(before, after, totals(asked))
	for _, r := range asked {
		now, err := after.Can(r.request)
		if err != nil { // nobody is there any more to ask
			now = &ask.Answer{Verdict: decide.Verdict{Outcome: decide.NoRoute}}
		}
		said := classOf(report, r.key)
		seen[said]++
		// Of a host that is there no more it is not told apart whether the gateway refuses the
		// handshake or, by the name of another host, the request.
		changes, refused := now.Outcome != r.was, r.was == decide.Deny && now.Outcome == decide.Fails
		if said == classes.Same && changes && !refused || said == classes.Changed && !changes || said == classes.Unknown {
			t.Errorf("%s: %s %s from %v was %s and is %s; of its count (%+v) it is said %s", name, r.request.Method, r.request.URL, r.request.From, r.was, now.Outcome, r.key, said)
		}
	}
}

// counted is a request with how it ended and what it was counted by.
type counted struct {
	request *ask.Request
	was     decide.Outcome
	key     hits.Key
}

func totals(of []counted) []hits.Total {
	var out []hits.Total
	for _, r := range of {
		at := slices.IndexFunc(out, func(t hits.Total) bool { return t.Key == r.key })
		if at < 0 {
			at = len(out)
			out = append(out, hits.Total{Key: r.key})
		}
		out[at].N++
	}
	return out
}

func classOf(r *recount.Report, k hits.Key) classes.Class {
	for i := range r.Groups {
		if r.Groups[i].Key == k {
			return r.Groups[i].Class
		}
	}
	return classes.Same
}

func requests(t *testing.T, m *mesh.Mesh, hosts ...string) []counted {
	t.Helper()
	index := counts.IndexOf(m)
	claims, err := structpb.NewStruct(map[string]any{"iss": "https://login.example.com", "aud": "bookinfo", "sub": "x"})
	must(t, err)
	var out []counted
	add := func(r *ask.Request, entry func(*ask.Answer) *accesslog.Entry) {
		answer, err := m.Can(r)
		must(t, err)
		of := index.Of(entry(answer))
		for key := range of.Counted {
			out = append(out, counted{r, answer.Outcome, key})
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST"} {
		for _, path := range []string{"/", "/productpage", "/static/a.css", "/api/v1/products", "/api/v1/products/0/reviews", "/elsewhere", "//productpage", "/productpage/../api/v1/products", "/productpage%2f..", "/Productpage", "/static;x"} {
			for _, token := range []*structpb.Struct{nil, claims} {
				for _, host := range append([]string{"bookinfo.example.com"}, hosts...) {
					u, err := url.Parse("https://" + host + path)
					must(t, err)
					add(&ask.Request{Method: method, URL: u, Claims: token}, func(a *ask.Answer) *accesslog.Entry {
						return entryOf(m, "istio-ingressgateway", a, accesslog.Entry{Method: method, Path: path, Authority: u.Host, Cluster: "outbound|"})
					})
				}
			}
		}
		for _, path := range []string{"/details", "/details/0", "/details/1/x", "/", "/reviews", "//details/1", "/details/./1", "/details/1/../2", "/details%2f1", "/details;1", "/DETAILS"} {
			for _, account := range []string{"productpage", "reviews"} {
				u, err := url.Parse("http://details.bookinfo:9080" + path)
				must(t, err)
				add(&ask.Request{Method: method, URL: u, From: &ask.WorkloadRef{Namespace: "bookinfo", Name: account}}, func(a *ask.Answer) *accesslog.Entry {
					return entryOf(m, "details", a, accesslog.Entry{
						Method: method, Path: path, Authority: u.Host, Cluster: "inbound|9080||", Peer: "spiffe://cluster.local/ns/bookinfo/sa/" + account,
					})
				})
			}
		}
	}
	return out
}

// entryOf completes what a proxy logs of an answer.
func entryOf(m *mesh.Mesh, account string, a *ask.Answer, e accesslog.Entry) *accesslog.Entry {
	node := m.Nodes[slices.IndexFunc(m.Nodes, func(n xds.Node) bool { return n.ServiceAccount == account })]
	return entryIn(m, node.Namespace, account, a, e)
}

func entryIn(m *mesh.Mesh, namespace, account string, a *ask.Answer, e accesslog.Entry) *accesslog.Entry {
	node := m.Nodes[slices.IndexFunc(m.Nodes, func(n xds.Node) bool { return n.ServiceAccount == account && n.Namespace == namespace })]
	e.Writer = accesslog.Writer{Namespace: node.Namespace, Pod: node.Name}
	e.Code, e.Details, e.Shows.Peer = 200, "via_upstream", true
	for _, step := range a.Steps {
		if step.Proxy != node.String() {
			continue
		}
		if step.Stage == decide.StageRoute && e.Route == "" {
			e.Route = step.Rule
		}
		if step.Stage == decide.StageFilter && decide.PolicyOf(step.Rule) != nil {
			e.RBAC.Enforced = accesslog.Noted{Verdict: accesslog.NotedAllowed, Policy: step.Rule}
		}
	}
	if a.Outcome != decide.Allow && a.Steps[len(a.Steps)-1].Proxy == node.String() {
		e.Code, e.Details, e.RBAC = a.Reply.Code, strings.ReplaceAll(a.Reply.Details, " ", "_"), accesslog.RBAC{}
	}
	return &e
}
