// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

func TestTheNewestRequestsOfEachKeyAreExamples(t *testing.T) {
	var s hits.Samples
	at := time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)
	web := hits.Key{Namespace: "shop", Application: "web", Place: hits.Workload, Verdict: hits.Denied}
	cart := hits.Key{Namespace: "shop", Application: "cart", Place: hits.Workload, Verdict: hits.Allowed}
	for i := range 5 {
		s.Add([]hits.Sample{{Key: web, At: at.Add(time.Duration(i) * time.Second), ID: fmt.Sprint(i)}})
	}
	s.Add([]hits.Sample{{Key: cart, At: at.Add(time.Second), ID: "cart"}})
	ids := func(of hits.Filter, from, to time.Time) string {
		var out []string
		for _, one := range s.All(of, from, to) {
			out = append(out, one.ID)
		}
		return strings.Join(out, " ")
	}
	for name, test := range map[string]struct {
		of       hits.Filter
		from, to time.Time
		want     string
	}{
		"all, the newest first":              {hits.Filter{}, at, at.Add(time.Hour), "4 3 2 cart"},
		"of one Application":                 {hits.Filter{Namespace: "shop", Application: "web"}, at, at.Add(time.Hour), "4 3 2"},
		"of a window, without its beginning": {hits.Filter{}, at.Add(2 * time.Second), at.Add(3 * time.Second), "3"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ids(test.of, test.from, test.to); got != test.want {
				t.Errorf("they are %q, want %q", got, test.want)
			}
		})
	}
}

func TestOfTooManyKeysThoseThatWereHitLastHaveExamples(t *testing.T) {
	var s hits.Samples
	at := time.Date(2027, 1, 10, 12, 0, 0, 0, time.UTC)
	for i := range hits.MostSampled + 10 {
		key := hits.Key{Namespace: "shop", Application: fmt.Sprint(i), Place: hits.Workload, Verdict: hits.Allowed}
		s.Add([]hits.Sample{{Key: key, At: at.Add(time.Duration(i) * time.Millisecond)}})
	}
	all := s.All(hits.Filter{}, at.Add(-time.Second), at.Add(time.Hour))
	if len(all) != hits.MostSampled || all[len(all)-1].Application != "10" {
		t.Errorf("there are %d, the last of %s", len(all), all[len(all)-1].Application)
	}
}

func TestAnExampleHasNothingThatAClientMadeUp(t *testing.T) {
	const id = "7b5d3f81-6fec-4c5f-8a1b-2c3d40000001"
	for name, test := range map[string]struct{ method, details, id, want string }{
		"as proxies make them":       {"GET", "rbac_access_denied_matched_policy[none]", id, "GET rbac_access_denied_matched_policy[none] " + id},
		"as others make them":        {"GET", "via_upstream", strings.ReplaceAll(id, "-", ""), "GET via_upstream " + strings.ReplaceAll(id, "-", "")},
		"a customer's number":        {"GET", "via_upstream", "DE89370400440532013000", "GET via_upstream "},
		"a number of a phone":        {"GET", "via_upstream", "49-1711234567", "GET via_upstream "},
		"a name":                     {"GET", "via_upstream", "ann-smith-1980", "GET via_upstream "},
		"an id with something else":  {"GET", "via_upstream", id + "-ann", "GET via_upstream "},
		"dashes where none are made": {"GET", "via_upstream", "7b5d-3f816fec-4c5f-8a1b-2c3d40000001", "GET via_upstream "},
		"markup in the id":           {"GET", "via_upstream", "<script>", "GET via_upstream "},
		"an odd method":              {"GET /secret", "via_upstream", id, " via_upstream " + id},
		"details with a line end":    {"GET", "via\nupstream", id, "GET  " + id},
		"long details":               {"GET", strings.Repeat("a", 201), id, "GET  " + id},
	} {
		t.Run(name, func(t *testing.T) {
			s := hits.NewSample(hits.Key{}, time.Time{}, test.method, 200, test.details, test.id)
			if got := s.Method + " " + s.Details + " " + s.ID; got != test.want {
				t.Errorf("it is %q, want %q", got, test.want)
			}
		})
	}
}
