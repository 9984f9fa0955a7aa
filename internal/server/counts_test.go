// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
	"github.com/trellis-mesh/trellis/internal/server/api"
)

// counts are of two hours, with a gap of one between them.
func counts(t *testing.T) hits.Store {
	t.Helper()
	store, err := embedded.Open(t.TempDir(), embedded.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	now := time.Now().Truncate(time.Second)
	key := func(namespace, route, peer string, place hits.Place, verdict hits.Verdict) hits.Key {
		return hits.Key{
			Namespace: namespace, Application: namespace, Route: route, Place: place, Verdict: verdict, Peer: peer, Rule: 0, Reason: "Caller",
			Object: "AuthorizationPolicy " + namespace + "/trellis-application-" + namespace + "-allow", Statement: "Application " + namespace + "/" + namespace, Field: "spec.routes[0]",
		}
	}
	at := now.Add(-3 * time.Hour)
	must(t, store.Append(t.Context(), hits.Interval{From: at, To: at.Add(time.Hour)}, []hits.Count{
		{Key: key("cart", "pages", hits.Internet, hits.Gateway, hits.Allowed), N: 7, At: at.Add(time.Minute)},
		{Key: key("cart", "pages", "istio-ingress/gateway", hits.Workload, hits.Allowed), N: 7, At: at.Add(time.Minute)},
		{Key: key("cart", "api", "till/till", hits.Workload, hits.Denied), N: 3, At: at.Add(2 * time.Minute)},
		{Key: key("till", "route-secret", "cart/cart", hits.Workload, hits.Allowed), N: 5, At: at.Add(time.Minute)},
	}))
	must(t, store.Append(t.Context(), hits.Interval{From: at.Add(2 * time.Hour), To: now}, nil))
	return store
}

func TestNumbersAreThereWhereTheyAreKnownAndAreOfWhatTheViewerMaySee(t *testing.T) {
	store := counts(t)
	a := ask(t, town(t), func(c *api.Config) { c.Store = store })
	if me := read[api.Me](t, a.get("dev", "/api/v1/me")); !me.Collects {
		t.Error("it counts, and says that it does not")
	}
	one := read[api.Application](t, a.get("dev", "/api/v1/applications/cart/cart"))
	if h := one.Routes[0].Hits; h == nil || h.Allowed != 7 || h.Denied != 0 || h.Last == nil {
		t.Errorf("the pages have %+v", h)
	}
	if h := one.Routes[1].Hits; h == nil || h.Denied != 3 {
		t.Errorf("the API has %+v", h)
	}
	peers := map[string]uint64{}
	for _, c := range one.Callers {
		peers[c.Peer] = c.Allowed + c.Denied
	}
	if peers["till/till"] != 3 || peers[hits.Internet] != 7 {
		t.Errorf("the callers are %+v", one.Callers)
	}
	if len(one.Calls) != 1 || one.Calls[0].To != "Application till/till" || one.Calls[0].Declared || one.Calls[0].Hits.Allowed != 5 {
		t.Errorf("the calls are %+v", one.Calls)
	}
	for who, rows := range map[string]int{"dev": 1, "viewer": 2} {
		h := read[answer.Hits](t, a.get(who, "/api/v1/hits?by=application&since=4h"))
		if len(h.Rows) != rows || h.Rows[0].Application != "cart/cart" || h.Rows[0].Allowed != 7 || h.Rows[0].Denied != 3 {
			t.Errorf("%s is told %+v", who, h.Rows)
		}
		if len(h.Ran) != 2 || len(h.Gaps) < 2 || h.Gaps[1].To.Sub(h.Gaps[1].From) != time.Hour {
			t.Errorf("it ran %v, and the gaps are %v", h.Ran, h.Gaps)
		}
	}
	for who, n := range map[string]uint64{"dev": 17, "viewer": 22} {
		kept := read[answer.Totals](t, a.get(who, "/api/v1/totals?since=4h"))
		if kept.Entries != n || len(kept.Ran) != 2 || len(kept.Totals) != map[string]int{"dev": 3, "viewer": 4}[who] || kept.Totals[0].Object == "" {
			t.Errorf("%s is told %+v", who, kept)
		}
	}
	told := read[answer.Explanation](t, a.post("dev", "/api/v1/explain?since=4h", `{"thing": "rbac_access_denied_matched_policy[ns[cart]-policy[trellis-application-cart-allow]-rule[0]]"}`))
	if len(told.Rules) != 1 || told.Rules[0].Hits == nil || told.Rules[0].Hits.Denied != 3 || told.Counted == nil || len(told.Counted.Gaps) < 2 {
		t.Errorf("the rule has %+v", told)
	}
	if of := read[assessment.Assessment](t, a.get("viewer", "/api/v1/report?since=4h")); len(of.Policies) == 0 || of.Policies[0].Hits == nil || len(of.Counted.Gaps) < 2 {
		t.Errorf("the report has %+v", of)
	}
	// Of a time of which nothing is known there are no zeros.
	if status, _, text := a.do("dev", "GET", "/api/v1/hits?since=1h30m", "", ""); status != 200 || len(read[answer.Hits](t, text).Ran) != 1 {
		t.Errorf("%d %s", status, text)
	}
}

func TestNumbersThatAreTooLowAreSaidToBe(t *testing.T) {
	store := counts(t)
	for name, test := range map[string]struct {
		lost int64
		ago  time.Duration
		said bool
	}{"nothing was dropped": {0, 0, false}, "in the window": {12, time.Hour, true}, "before it": {12, 5 * time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			a := ask(t, town(t), func(c *api.Config) {
				c.Store = store
				c.Lost = func() (int64, time.Time) { return test.lost, time.Now().Add(-test.ago) }
			})
			notes := read[answer.Hits](t, a.get("dev", "/api/v1/hits?since=4h")).Notes
			if said := len(notes) == 1 && strings.HasPrefix(notes[0], "numbers are too low: 12 entries"); said != test.said {
				t.Errorf("the notes are %q", notes)
			}
		})
	}
}

func TestExamplesAreOfWhatTheViewerMaySee(t *testing.T) {
	var samples hits.Samples
	at := time.Now().Add(-time.Minute)
	for namespace, verdict := range map[string]hits.Verdict{"cart": hits.Allowed, "till": hits.Denied, "": hits.Denied} {
		key := hits.Key{Namespace: namespace, Application: namespace, Place: hits.Workload, Verdict: verdict, Statement: "Application till/till", Field: "spec.access"}
		samples.Add([]hits.Sample{{Key: key, At: at, Method: "GET", Code: 200, Details: "via_upstream", ID: "id-" + namespace}})
	}
	a := ask(t, town(t), func(c *api.Config) { c.Samples = &samples })
	for question, want := range map[string]map[string]string{
		"/api/v1/samples":                 {"dev": "id-cart ", "viewer": "id-cart spec.access id-till spec.access id- spec.access"},
		"/api/v1/samples?verdict=Denied":  {"dev": "", "viewer": "id-till spec.access id- spec.access"},
		"/api/v1/samples?namespace=cart":  {"dev": "id-cart ", "viewer": "id-cart spec.access"},
		"/api/v1/samples?since=30s":       {"dev": "", "viewer": ""},
		"/api/v1/samples?application=off": {"dev": "", "viewer": ""},
	} {
		for who, ids := range want {
			var got []string
			for _, one := range read[answer.Samples](t, a.get(who, question)).Samples {
				got = append(got, one.RequestID+" "+one.Field)
			}
			if told := strings.Join(got, " "); !sameWords(told, ids) {
				t.Errorf("%s is told %q of %s, want %q", who, told, question, ids)
			}
		}
	}
}

// sameWords compares without order.
func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func TestWithoutAStoreNothingIsZero(t *testing.T) {
	a := ask(t, town(t), nil)
	one := read[api.Application](t, a.get("dev", "/api/v1/applications/cart/cart"))
	for _, r := range one.Routes {
		if r.Hits != nil {
			t.Errorf("nobody counts, and route %s has %+v", r.Name, r.Hits)
		}
	}
	if h := read[answer.Hits](t, a.get("dev", "/api/v1/hits")); len(h.Rows) != 0 || len(h.Notes) != 1 {
		t.Errorf("nobody counts, and the answer is %+v", h)
	}
	for _, since := range []string{"yesterday", "-1h", "0s", "9999h"} {
		if status, _, text := a.do("dev", "GET", "/api/v1/hits?since="+since, "", ""); status != 400 {
			t.Errorf("since %s: %d %s", since, status, text)
		}
	}
}
