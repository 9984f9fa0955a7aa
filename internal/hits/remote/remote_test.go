// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package remote_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/contract"
	"github.com/trellis-mesh/trellis/internal/hits/remote"
	"github.com/trellis-mesh/trellis/test/metricstore"
	"github.com/trellis-mesh/trellis/test/tool"
)

// each runs a test with every kind of server whose program has been built.
func each(t *testing.T, test func(t *testing.T, kind metricstore.Kind)) {
	for _, kind := range metricstore.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			if _, err := tool.Find(string(kind), "stores"); err != nil {
				t.Skip(err)
			}
			test(t, kind)
		})
	}
}

func store(t *testing.T, options remote.Options) *remote.Store {
	t.Helper()
	s, err := remote.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContract(t *testing.T) {
	each(t, func(t *testing.T, kind metricstore.Kind) {
		contract.Run(t, contract.Subject{New: func(t *testing.T, keys int) contract.Fixture {
			server := metricstore.Start(t, kind)
			options := remote.Options{URL: server.URL, Collector: "server-0", Keys: keys}
			return contract.Fixture{
				Store:  store(t, options),
				Settle: func(t *testing.T) { server.Flush(t) },
				Again:  func(t *testing.T) hits.Store { return store(t, options) },
			}
		}})
	})
}

func second(n int) time.Time { return contract.Start.Add(time.Duration(n) * time.Second) }

func span(from, to int) hits.Interval { return hits.Interval{From: second(from), To: second(to)} }

func count(peer string, n uint64, at int) hits.Count {
	return hits.Count{Key: hits.Key{Namespace: "shop", Place: hits.Gateway, Rule: 3, Verdict: hits.Allowed, Peer: peer}, N: n, At: second(at)}
}

// sum is of all, between two seconds.
func sum(t *testing.T, s hits.Store, from, to int) (n uint64) {
	t.Helper()
	totals, err := s.Sum(t.Context(), hits.Filter{}, second(from), second(to))
	if err != nil {
		t.Fatal(err)
	}
	for _, total := range totals {
		n += total.N
	}
	return n
}

func TestSeveralCollectorsAreAddedUp(t *testing.T) {
	each(t, func(t *testing.T, kind metricstore.Kind) {
		server := metricstore.Start(t, kind)
		for i, name := range []string{"server-0", "server-1", `odd "name"`} {
			s := store(t, remote.Options{URL: server.URL, Collector: name})
			if err := s.Append(t.Context(), span(5*i, 5*i+10), []hits.Count{count("a/b", 1<<i, 5*i+5)}); err != nil {
				t.Fatal(err)
			}
		}
		server.Flush(t)
		s := store(t, remote.Options{URL: server.URL, Collector: "reader"})
		totals, err := s.Sum(t.Context(), hits.Filter{}, second(0), second(60))
		if err != nil || len(totals) != 1 || totals[0].N != 7 || !totals[0].First.Equal(second(5)) || !totals[0].Last.Equal(second(15)) {
			t.Errorf("totals are %+v, %v, want one with 7", totals, err)
		}
		ran, err := s.Ran(t.Context(), second(0), second(60))
		if err != nil || len(ran) != 1 || ran[0] != span(0, 20) {
			t.Errorf("they ran in %v, %v, want one interval of 20 seconds", ran, err)
		}
	})
}

// A request whose answer is lost has been taken all the same: the store may not take it
// twice.
func TestWhatIsAppendedAgainIsThereOnce(t *testing.T) {
	each(t, func(t *testing.T, kind metricstore.Kind) {
		server := metricstore.Start(t, kind)
		target, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		forward := httputil.NewSingleHostReverseProxy(target)
		var lost atomic.Int32
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/write") && lost.Add(-1) >= 0 {
				forward.ServeHTTP(httptest.NewRecorder(), r)
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			forward.ServeHTTP(w, r)
		}))
		t.Cleanup(front.Close)
		s := store(t, remote.Options{URL: front.URL, Collector: "server-0"})
		lost.Store(1)
		counts := []hits.Count{count("a/b", 1, 5), count("c/d", 2, 6)}
		if err := s.Append(t.Context(), span(0, 10), counts); err == nil {
			t.Fatal("an answer that was lost is no error")
		}
		if err := s.Append(t.Context(), span(0, 20), counts); err == nil || errors.Is(err, hits.ErrOrder) {
			t.Errorf("another interval gave %v, want an error that asks for the same", err)
		}
		server.Flush(t)
		if err := s.Append(t.Context(), span(0, 10), counts); err != nil {
			t.Fatal(err)
		}
		if err := s.Append(t.Context(), span(10, 20), counts[:0]); err != nil {
			t.Fatal(err)
		}
		server.Flush(t)
		if got := sum(t, s, 0, 60); got != 3 {
			t.Errorf("there are %d, want 3", got)
		}
	})
}

func TestWhatIsRefusedIsLostAndAGapAndItGoesOn(t *testing.T) {
	refuse := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/query") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`))
			return
		}
		if refuse {
			http.Error(w, "out of bounds", http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	s := store(t, remote.Options{URL: server.URL, Collector: "server-0"})
	err := s.Append(t.Context(), span(0, 10), []hits.Count{count("a/b", 1, 5)})
	if !errors.Is(err, hits.ErrRefused) || !strings.Contains(err.Error(), "out of bounds") {
		t.Errorf("the error is %v, want ErrRefused and what the server said", err)
	}
	refuse = false
	if err := s.Append(t.Context(), span(10, 20), []hits.Count{count("a/b", 1, 15)}); err != nil {
		t.Errorf("after what was refused: %v", err)
	}
}

// TestValuesThatNobodyCountedAreNoNumbers: the server is anybody's who may write to it.
func TestValuesThatNobodyCountedAreNoNumbers(t *testing.T) {
	for _, value := range []string{"NaN", "-1", "+Inf", "1e300"} {
		t.Run(value, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				kind, field := "vector", `"value":[1,"`+value+`"]`
				if strings.HasPrefix(r.FormValue("query"), "trellis_hits_ran") {
					kind, field = "matrix", `"values":[[1,"`+value+`"]]`
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":[{"metric":{"place":"Gateway","verdict":"Allowed"},%s}]}}`, kind, field)
			}))
			t.Cleanup(server.Close)
			s := store(t, remote.Options{URL: server.URL, Collector: "server-0"})
			if totals, err := s.Sum(t.Context(), hits.Filter{}, second(0), second(60)); err == nil || !strings.Contains(err.Error(), "no collector writes") {
				t.Errorf("totals are %+v, %v", totals, err)
			}
			if ran, err := s.Ran(t.Context(), second(0), second(60)); err == nil || !strings.Contains(err.Error(), "no collector writes") {
				t.Errorf("they ran in %v, %v", ran, err)
			}
		})
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for name, options := range map[string]remote.Options{
		"no collector":              {URL: "http://localhost:9090"},
		"no URL":                    {Collector: "server-0"},
		"a password in the URL":     {URL: "http://me:secret@localhost:9090", Collector: "server-0"},
		"a password to write with":  {URL: "http://localhost:9090", Write: "http://me:secret@localhost:9090/write", Collector: "server-0"},
		"a scheme that nobody asks": {URL: "http://localhost:9090", Write: "ftp://localhost", Collector: "server-0"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := remote.New(options); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error is %v, want one without the password", err)
			}
		})
	}
}
