// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus_test

import (
	"flag"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/mtls/signature"
	"github.com/trellis-mesh/trellis/internal/prometheus"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/test/metricstore"
)

// half is a minute and half of the next.
func half(n int) time.Time { return minute(n).Add(30 * time.Second) }

func TestSinceWhenAndUntilWhenTheStoreKnows(t *testing.T) {
	cases := []struct {
		name     string
		steady   string
		from, to time.Time
	}{
		{"all the time", "60:7 200:9", minute(began), scrape(ends)},
		{"but for two scrapes", "60:7 200:- 202:9", minute(began), scrape(ends)},
		{"but for some minutes", "60:7 200:- 208:9", half(212), scrape(ends)},
		{"but for some minutes before the window", "60:7 175:- 185:9", half(187), scrape(ends)},
		{"since some time in the window", "200:9", half(202), scrape(ends)},
		{"since the last scrape", "240:9", scrape(ends), scrape(ends)},
		{"until the scrapes stopped", "60:7 200:9 229:-", minute(began), scrape(228)},
	}
	eachStore(t, func(t *testing.T, store *metricstore.Store) {
		metrics := source(t, store.URL, prometheus.Options{})
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				later := time.Duration(i) * 24 * time.Hour
				// What a series stands at when looking begins came before.
				plaintext := served("unknown", "shop/pay", "none", c.steady)
				store.Write(t, moved([]metricstore.Series{plaintext, connected("shop/front", "shop/cart", "mutual_tls", c.steady)}, later)...)
				got, err := metrics.Seen(t.Context(), minute(began).Add(later), minute(ends).Add(later))
				if err != nil {
					t.Fatal(err)
				}
				if got = movedBack(got, later); !got.From.Equal(c.from) || !got.To.Equal(c.to) {
					t.Errorf("got %s\nwant %s to %s", text(got), c.from, c.to)
				}
				if lasts := strings.HasPrefix(c.steady, "60:"); !lasts && got.Edges[1].Plaintext != 0 {
					t.Errorf("plaintext of before looking began is counted: %s", text(got))
				}
			})
		}
	})
}

func TestAnEmptyStoreKnowsNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, store *metricstore.Store) {
		store.Write(t, series("up", "job=pods", "60:1"))
		_, err := source(t, store.URL, prometheus.Options{}).Seen(t.Context(), minute(began), minute(ends))
		const want = "it has no istio_requests_total from 2026-01-02T03:00:00Z to 2026-01-02T04:00:00Z: see that it scrapes the proxies"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	})
}

var seriesOfPods = flag.Int("series", 20_000, "how many series the store has in TestManySeries")

// many are series of one server's pods.
func many(policy string) []metricstore.Series {
	out := make([]metricstore.Series, *seriesOfPods)
	for i := range out {
		one := served("shop/web", "shop/pay", policy, "")
		one.Labels["pod"] = fmt.Sprint("pay-", i)
		one.Samples = []metricstore.Sample{{At: scrape(began), Value: 1}, {At: scrape(ends), Value: 2}}
		out[i] = one
	}
	return out
}

func TestManySeries(t *testing.T) {
	eachStore(t, func(t *testing.T, store *metricstore.Store) {
		metrics := source(t, store.URL, prometheus.Options{})
		store.Write(t, append(many("mutual_tls"), steady(), served("unknown", "shop/pay", "none", "200:4"))...)
		started := time.Now()
		got, err := metrics.Seen(t.Context(), minute(began), minute(ends))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d series of mutual TLS: %s", *seriesOfPods, time.Since(started))
		pay := got.Edges[1:]
		if len(pay) != 2 || pay[0].Requests != uint64(*seriesOfPods) || pay[1].Client != traffic.UnknownClient || pay[1].Plaintext != 4 {
			t.Errorf("got %s", text(got))
		}
		store.Write(t, many("none")...)
		started = time.Now()
		_, err = metrics.Seen(t.Context(), minute(began), minute(ends))
		t.Logf("%d series of plaintext: %s: %v", *seriesOfPods, time.Since(started), err)
		if err == nil || !strings.Contains(err.Error(), "look into a shorter window") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWindowNeedsASecond(t *testing.T) {
	metrics := source(t, "http://127.0.0.1:9", prometheus.Options{})
	for _, to := range []time.Time{minute(0), minute(-1), minute(0).Add(999 * time.Millisecond)} {
		if _, err := metrics.Seen(t.Context(), minute(0), to); err == nil || !strings.Contains(err.Error(), "at least a second") {
			t.Errorf("to %s: got %v", to, err)
		}
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for address, want := range map[string]string{
		"":                          "has to begin with http",
		"prometheus:9090":           "has to begin with http",
		"ftp://prometheus":          "has to begin with http",
		"http://":                   "has to begin with http",
		"http://me:secret@p/":       "take away credentials",
		"http://p/?token=secret":    "take away credentials",
		"http://me:secret@p:port/%": "it is no URL",
	} {
		_, err := prometheus.New(address, prometheus.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v, want %q", address, err, want)
		}
	}
}

// A store that answers what a test says.
func TestAnswersThatAreRefused(t *testing.T) {
	const empty = `{"status":"success","data":{"resultType":"matrix","result":[]}}`
	for _, c := range []struct {
		name    string
		options prometheus.Options
		answer  func(nethttp.ResponseWriter, *nethttp.Request)
		want    []string
	}{
		{"the query", prometheus.Options{}, answer(422, `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory"}`), []string{"refuses the query (execution)", "too many samples"}},
		{"a failure", prometheus.Options{}, answer(500, "no disk"), []string{"refuses the query (server_error)", "no disk"}},
		{"a login", prometheus.Options{}, answer(401, "who are you"), []string{"which asks for no login"}},
		{"a page", prometheus.Options{}, answer(200, "<html>"), []string{"see that the URL is the part before /api/v1"}},
		{"elsewhere", prometheus.Options{}, func(w nethttp.ResponseWriter, r *nethttp.Request) {
			nethttp.Redirect(w, r, "http://127.0.0.1:1/", nethttp.StatusFound)
		}, []string{"see that the URL is the part before /api/v1"}},
		{"another kind of value", prometheus.Options{}, answer(200, `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`), []string{"it gave a scalar"}},
		{"a part", prometheus.Options{}, answer(200, strings.Replace(empty, `"data"`, `"warnings":["store 2 is down"],"data"`, 1)), []string{"its answer may be a part only", "store 2 is down"}},
		{"too many bytes", prometheus.Options{Bytes: int64(len(empty)) - 1}, answer(200, empty), []string{"its response has more than 62 bytes"}},
		{"too many series", prometheus.Options{Series: 1}, answer(200, strings.Replace(empty, "[]", "["+strings.Repeat(`{"metric":{},"values":[]},`, 3)+`{"metric":{},"values":[]}]`, 1)), []string{"more than 1 series"}},
		{"nothing in time", prometheus.Options{Timeout: 20 * time.Millisecond}, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, []string{"no answer within 20ms"}},
		{"nothing that is wrong, and remarks about the query", prometheus.Options{Bytes: int64(len(empty)) + 60}, answer(200, strings.Replace(empty, `"data"`, `"warnings":["PromQL info: metric might be none"],"data"`, 1)), []string{"it has no istio_requests_total"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(nethttp.HandlerFunc(c.answer))
			defer server.Close()
			metrics := source(t, server.URL+"/prometheus/", c.options)
			defer metrics.Close()
			_, err := metrics.Seen(t.Context(), minute(began), minute(ends))
			for _, want := range append(c.want, strings.TrimPrefix(server.URL, "http://")) {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func answer(code int, text string) func(nethttp.ResponseWriter, *nethttp.Request) {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Method != nethttp.MethodPost || !strings.HasPrefix(r.URL.Path, "/prometheus/api/v1/query") {
			code, text = 404, "not here"
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

func TestAStoreThatDoesNotRun(t *testing.T) {
	server := httptest.NewServer(nil)
	address := server.URL
	server.Close()
	_, err := source(t, address, prometheus.Options{}).Seen(t.Context(), minute(began), minute(ends))
	if err == nil || !strings.Contains(err.Error(), "see that it runs and is reached from here") {
		t.Errorf("got %v", err)
	}
}

func TestTheCauseIsTheWordOfSignatures(t *testing.T) {
	if got := failed(1, 1, 0, "").Cause; got != string(signature.Unrecognised) {
		t.Errorf("the cause of failures is %s, and signatures say %s", got, signature.Unrecognised)
	}
}
