// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package prometheus_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/prometheus"
	"github.com/trellis-mesh/trellis/internal/traffic"
	"github.com/trellis-mesh/trellis/test/metricstore"
)

// The window of the cases is the fourth hour of a day. A scrape is at each full minute
// but for ten seconds.
var day = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return day.Add(time.Duration(n) * time.Minute) }
func scrape(n int) time.Time { return minute(n).Add(-10 * time.Second) }

const began, ends = 180, 240

// series has labels as "NAME=VALUE ..." and values as "MINUTE:VALUE ...", each until the
// next, and "-" for none: "170:5 200:6 230:-".
func series(metric, labels, values string) metricstore.Series {
	out := metricstore.Series{Labels: map[string]string{"__name__": metric, "pod": "one"}}
	for _, l := range strings.Fields(labels) {
		name, value, _ := strings.Cut(l, "=")
		out.Labels[name] = value
	}
	changes := strings.Fields(values)
	for i, change := range changes {
		first, text, _ := strings.Cut(change, ":")
		from, to := number(first), ends+1
		if i+1 < len(changes) {
			next, _, _ := strings.Cut(changes[i+1], ":")
			to = number(next)
		}
		for m := from; m < to && text != "-"; m++ {
			out.Samples = append(out.Samples, metricstore.Sample{At: scrape(m), Value: float64(number(text))})
		}
	}
	return out
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// edge are the labels that say who called whom; a name that is "unknown" has an
// unknown namespace.
func edge(client, service string) string {
	of := func(ref, namespace, name string) string {
		ns, n, found := strings.Cut(ref, "/")
		if !found {
			n = ns
		}
		return namespace + "=" + ns + " " + name + "=" + n
	}
	return of(client, "source_workload_namespace", "source_workload") + " " +
		of(service, "destination_service_namespace", "destination_service_name")
}

const http, tcp = "istio_requests_total", "istio_tcp_connections_opened_total"

// served is what the server's proxy counted, called what the client's did.
func served(client, service, policy, values string) metricstore.Series {
	return series(http, edge(client, service)+" reporter=destination response_code=200 response_flags=- connection_security_policy="+policy, values)
}

func connected(client, service, policy, values string) metricstore.Series {
	return series(tcp, edge(client, service)+" reporter=destination response_flags=- connection_security_policy="+policy, values)
}

func called(client, service, flags, values string) metricstore.Series {
	code := "503"
	if flags == "-" {
		code = "200"
	}
	return series(http, edge(client, service)+" reporter=source connection_security_policy=unknown response_code="+code+" response_flags="+flags, values)
}

func ofPod(pod string, s metricstore.Series) metricstore.Series {
	s.Labels = maps.Clone(s.Labels)
	s.Labels["pod"] = pod
	return s
}

// steady is there all the time, as something in a mesh always is.
func steady() metricstore.Series {
	return served("shop/front", "shop/cart", "mutual_tls", "60:7 200:9")
}

var steadyEdge = traffic.Edge{Client: "shop/front", Proxied: true, Services: []string{"shop/cart"}, Requests: 2}

func plain(client string, count uint64, last int) traffic.Edge {
	at := minute(last)
	return traffic.Edge{Client: client, Services: []string{"shop/pay"}, Requests: count, Plaintext: count, LastPlaintext: &at}
}

func proxied(e traffic.Edge) traffic.Edge { e.Proxied = true; return e }

func quiet(client string, requests uint64) traffic.Edge {
	return traffic.Edge{Client: client, Services: []string{"shop/pay"}, Requests: requests}
}

// sent is what only the client's proxy counted.
func sent(e traffic.Edge) traffic.Edge { e.SentOnly = true; return e }

func failed(requests, count uint64, last int, why string) traffic.Edge {
	at := minute(last)
	return traffic.Edge{
		Client: "shop/web", Proxied: true, Services: []string{"shop/pay"}, Requests: requests, Failed: count, LastFailed: &at,
		Cause: "Unrecognised", Why: why + " in the hour before; metrics do not say why a connection broke",
	}
}

// eachStore runs a test with each real store.
func eachStore(t *testing.T, test func(*testing.T, *metricstore.Store)) {
	for _, kind := range metricstore.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, metricstore.Start(t, kind))
		})
	}
}

func source(t *testing.T, url string, options prometheus.Options) *prometheus.Source {
	t.Helper()
	s, err := prometheus.New(url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestWhatAStoreKnowsOfTraffic(t *testing.T) {
	cases := []struct {
		name   string
		series []metricstore.Series
		want   []traffic.Edge
		lost   uint64
	}{
		{"no plaintext", nil, nil, 0},
		{"plaintext before the window only", []metricstore.Series{served("unknown", "shop/pay", "none", "60:3 150:8")}, nil, 0},
		{"plaintext before the window, of a pod that is gone", []metricstore.Series{served("unknown", "shop/pay", "none", "60:3 150:8 179:-")}, nil, 0},
		{
			"plaintext in the window",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:3 200:8")},
			[]traffic.Edge{plain("unknown", 5, 200)}, 0,
		},
		{
			"a client that was never there before, with its first sample",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "200:4")},
			[]traffic.Edge{plain("unknown", 4, 200)}, 0,
		},
		{
			"the same, with the last scrape of the window",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "240:1")},
			[]traffic.Edge{plain("unknown", 1, 240)}, 0,
		},
		{
			"a pod that came and went in the window",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "200:4 202:6 203:-")},
			[]traffic.Edge{plain("unknown", 6, 202)}, 0,
		},
		{
			"growth in the scrape in which a pod was seen last",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:4 210:6 211:-")},
			[]traffic.Edge{plain("unknown", 2, 210)}, 0,
		},
		{
			"a proxy that began anew",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:4 190:9 210:2")},
			[]traffic.Edge{plain("unknown", 7, 210)}, 0,
		},
		{
			"a proxy that began anew, and whose clients are back after a while",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:4 190:- 230:3")},
			[]traffic.Edge{plain("unknown", 3, 230)}, 0,
		},
		{
			"a pod that was not scraped for a while",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:4 170:- 230:4")},
			[]traffic.Edge{quiet("unknown", 4)}, 0,
		},
		{
			"pods of one server",
			[]metricstore.Series{served("unknown", "shop/pay", "none", "60:4 190:5"), ofPod("two", served("unknown", "shop/pay", "none", "195:2"))},
			[]traffic.Edge{plain("unknown", 3, 195)}, 0,
		},
		{
			"a client whose proxy was told to send plaintext, and one that sends both",
			[]metricstore.Series{
				served("shop/web", "shop/pay", "none", "60:1 190:2"),
				served("shop/old", "shop/pay", "none", "190:2"), served("shop/old", "shop/pay", "mutual_tls", "60:1 190:9"),
			},
			[]traffic.Edge{
				{Client: "shop/old", Proxied: true, Services: []string{"shop/pay"}, Requests: 10, Plaintext: 2, LastPlaintext: new(minute(190))},
				proxied(plain("shop/web", 1, 190)),
			}, 0,
		},
		{
			"connections without HTTP",
			[]metricstore.Series{connected("unknown", "shop/pay", "none", "60:1 190:2"), connected("shop/web", "shop/pay", "mutual_tls", "190:3")},
			[]traffic.Edge{{Client: "shop/web", Proxied: true, Services: []string{"shop/pay"}, Requests: 3}, plain("unknown", 1, 190)}, 0,
		},
		{
			"plaintext that a ztunnel counted, which knows the name by the address",
			[]metricstore.Series{connected("legacy/job", "shop/pay", "unknown", "190:2")},
			[]traffic.Edge{plain("legacy/job", 2, 190)}, 0,
		},
		{
			"plaintext to no Service, and with a policy that nobody knows",
			[]metricstore.Series{
				served("unknown", "unknown", "none", "190:2"), served("unknown", "shop/InboundPassthroughCluster", "none", "190:3"),
				served("shop/web", "shop/pay", "", "60:4 190:8"),
			},
			[]traffic.Edge{quiet("shop/web", 4)}, 9,
		},
		{
			"requests that fail and never did",
			[]metricstore.Series{called("shop/web", "shop/pay", "-", "60:5 190:25"), called("shop/web", "shop/pay", "UC", "200:3"), ofPod("two", called("shop/web", "shop/pay", "URX,UF", "201:2"))},
			[]traffic.Edge{sent(failed(25, 5, 201, "5 requests ended with response flag UC or URX,UF at the client's proxy, where there were none"))}, 0,
		},
		{
			"requests that fail as often as before",
			[]metricstore.Series{called("shop/web", "shop/pay", "UC", "60:1 130:10 200:22")},
			[]traffic.Edge{sent(proxied(quiet("shop/web", 12)))}, 0,
		},
		{
			"requests that fail far more often than before, of a pod that is new",
			[]metricstore.Series{called("shop/web", "shop/pay", "UC", "60:1 130:3 170:-"), ofPod("two", called("shop/web", "shop/pay", "UC", "190:40"))},
			[]traffic.Edge{sent(failed(40, 38, 190, "40 requests ended with response flag UC at the client's proxy, where there were 2"))}, 0,
		},
		{
			"requests that fail otherwise, or on their way out of the mesh",
			[]metricstore.Series{called("shop/web", "shop/pay", "UT", "190:3"), called("shop/web", "unknown/api.example.com", "UC", "190:3"), called("shop/web", "unknown/PassthroughCluster", "UF", "190:3")},
			[]traffic.Edge{sent(proxied(quiet("shop/web", 3)))}, 0,
		},
		{
			"requests that the proxies of both ends count",
			[]metricstore.Series{called("shop/web", "shop/pay", "-", "60:5 190:25"), served("shop/web", "shop/pay", "mutual_tls", "60:5 190:25")},
			[]traffic.Edge{proxied(quiet("shop/web", 20))}, 0,
		},
	}
	// Each case has a day of its own in one store.
	eachStore(t, func(t *testing.T, store *metricstore.Store) {
		metrics := source(t, store.URL, prometheus.Options{})
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				later := time.Duration(i) * 24 * time.Hour
				store.Write(t, moved(append(c.series, steady()), later)...)
				got, err := metrics.Seen(t.Context(), minute(began).Add(later), minute(ends).Add(later))
				if err != nil {
					t.Fatal(err)
				}
				want := traffic.Seen{From: minute(began), To: scrape(ends), Lost: c.lost, Edges: append([]traffic.Edge{steadyEdge}, c.want...)}
				if got = movedBack(got, later); !reflect.DeepEqual(got, want) {
					t.Errorf("got\n%s\nwant\n%s", text(got), text(want))
				}
			})
		}
	})
}

func moved(all []metricstore.Series, by time.Duration) []metricstore.Series {
	out := slices.Clone(all)
	for i := range out {
		out[i].Samples = slices.Clone(out[i].Samples)
		for j := range out[i].Samples {
			out[i].Samples[j].At = out[i].Samples[j].At.Add(by)
		}
	}
	return out
}

func movedBack(s traffic.Seen, by time.Duration) traffic.Seen {
	s.From, s.To = s.From.Add(-by), s.To.Add(-by)
	for i := range s.Edges {
		for _, last := range []*time.Time{s.Edges[i].LastPlaintext, s.Edges[i].LastFailed} {
			if last != nil {
				*last = last.Add(-by)
			}
		}
	}
	return s
}

func text(s traffic.Seen) string {
	out := fmt.Sprintf("%s to %s, lost %d", s.From, s.To, s.Lost)
	for _, e := range s.Edges {
		out += fmt.Sprintf("\n  %s -> %s proxied %t, sent only %t: %d requests, %d plaintext (%v), %d failed (%v) %s %s",
			e.Client, e.Services, e.Proxied, e.SentOnly, e.Requests, e.Plaintext, e.LastPlaintext, e.Failed, e.LastFailed, e.Cause, e.Why)
	}
	return out
}
