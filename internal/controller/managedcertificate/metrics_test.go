// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package managedcertificate_test

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	pebble "github.com/trellis-mesh/trellis/test/acme"
)

// ruleNames finds the metrics of a page, and those that the chart's rules are about.
func ruleNames(t *testing.T) (page, rules []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/concepts/certificates.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`trellis_(?:certificate|acme)_[a-z_]+`)
	shipped, err := os.ReadFile("../../../charts/trellis/files/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules = name.FindAllString(string(shipped), -1)
	page = name.FindAllString(string(text), -1)
	for _, names := range []*[]string{&page, &rules} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return page, rules
}

func TestEveryMetricIsOnThePageAndEveryRuleIsAboutOneThatExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.New(t, pebble.Options{}), "HTTP01", "a.example.com")
	w.ca.Inject(pebble.Fault{Path: pebble.PathNewOrder, Status: 503, Type: "serverInternal", Detail: "away", RetryAfter: "600"})
	w.until("the failure", func(c *v1alpha1.ManagedCertificate) bool { return c.Status.NextTry != nil })
	next := w.state().NextTry
	seen := w.metrics()
	if got := seen["trellis_certificate_next_try_timestamp_seconds"]; next == nil || got != float64(next.Unix()) || next.Sub(w.clock.Now()) < 9*time.Minute {
		t.Errorf("the next try is %v, and the metric %f", next, got)
	}
	w.issue()
	if _, err := w.look(); err != nil {
		t.Fatal(err)
	}
	issued := w.metrics()
	if _, there := issued["trellis_certificate_next_try_timestamp_seconds"]; there {
		t.Error("a next try is told of although nothing failed")
	}
	if got, want := issued["trellis_certificate_ari_window_start_timestamp_seconds"], w.state().Renewal.Start; want == nil || got != float64(want.Unix()) {
		t.Errorf("the window begins at %v, and the metric is %f", want, got)
	}
	var exists []string
	for _, metrics := range []map[string]float64{seen, issued} {
		for name := range metrics {
			exists = append(exists, name)
		}
	}
	slices.Sort(exists)
	exists = slices.Compact(exists)
	page, rules := ruleNames(t)
	if !slices.Equal(page, exists) {
		t.Errorf("the page names %q, and there are %q", page, exists)
	}
	if len(rules) < 3 {
		t.Errorf("the rules are about %q only", rules)
	}
	for _, name := range rules {
		if !slices.Contains(exists, name) {
			t.Errorf("a rule is about %s, which does not exist", name)
		}
	}
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) != 0 {
		t.Errorf("the metrics are not named as others are: %v, %v", problems, err)
	}
}

// metrics are the values that a registry gives, one of each name.
func (w *world) metrics() map[string]float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}
