// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package counting_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// requestSeries are the values of trellis_requests_total by their labels.
func (w *world) requestSeries() map[string]float64 {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "trellis_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			key := ""
			for _, l := range m.GetLabel() {
				key += l.GetValue() + "/"
			}
			out[key] = m.GetCounter().GetValue()
		}
	}
	return out
}

func TestRequestsAreThereForPrometheusWhateverTheStoreSays(t *testing.T) {
	w := start(t, t.TempDir(), noon)
	w.counter.Use(mesh())
	w.count("nightly", 5)
	w.count("daily", 2)
	w.store.answer(errors.New("away"), false)
	w.tick()
	// The order is that of the names of labels: application, namespace, place, verdict.
	if got := w.requestSeries(); got["/shop/Workload/Allowed/"] != 7 {
		t.Errorf("the series are %v", got)
	}
	// They are appended again, and not counted again.
	w.store.answer(nil, false)
	w.tick()
	<-w.store.done
	want := map[string]float64{
		"/shop/Workload/Allowed/": 7, "/shop/Workload/Denied/": 0, "/shop/Workload/WouldDeny/": 0, "/shop/Workload/Failed/": 0,
	}
	if got := w.requestSeries(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the series are %v, want %v", got, want)
	}
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) != 0 {
		t.Errorf("the metrics are not named as others are: %v, %v", problems, err)
	}
}

func TestTheNumberOfSeriesIsBoundedAndNoRequestIsLost(t *testing.T) {
	const namespaces, most = 5_200, 5_000
	w := start(t, t.TempDir(), noon)
	proxies := make([]xds.Node, namespaces)
	for i := range proxies {
		proxies[i] = xds.Node{
			Type: xds.Sidecar, Namespace: fmt.Sprintf("n%d", i), Name: "web-1", ServiceAccount: "web", Labels: map[string]string{"app": "web"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})},
		}
	}
	w.counter.Use(attribution.New(attribution.Input{Proxies: proxies}))
	for i := range namespaces {
		entry := called(t, "nightly")
		entry.Local = netip.AddrPortFrom(proxies[i].Addresses[0], 8080)
		w.counter.Each(entry, w.clock.Now())
	}
	w.tick()
	series := w.requestSeries()
	sum := 0.0
	for _, n := range series {
		sum += n
	}
	if len(series) > 4*(most+2) || sum != namespaces || series["//Workload/"+string(hits.Allowed)+"/"] == 0 {
		t.Errorf("%d series of %v requests, %v of them of nobody", len(series), sum, series["//Workload/Allowed/"])
	}
}
