// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/hits/embedded"
	"github.com/trellis-mesh/trellis/test/stack"
)

// written is what the platform, security and the team of ratings state.
const written = `
apiVersion: trellis.dev/v1alpha1
kind: SecureIngress
metadata: {name: public, namespace: istio-ingress}
spec:
  domains: [{name: main, domain: example.com}]
  gateway: {service: istio-ingressgateway, exclusive: true}
  tls: {secretName: wildcard-example-com}
  insecureRequests: Redirect
  identityProviders:
  - {name: customers, issuer: "https://login.example.com", jwks: %q, audiences: [bookinfo], default: true}
  applications: [{name: public-teams, namespaceSelector: {matchLabels: {exposure: public}}, hostnames: ["*"]}]
---
apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: ratings, namespace: bookinfo}
spec:
  service: ratings
  ports: [{name: web, port: 9080, protocol: HTTP}, {name: raw, port: 9090, protocol: TCP}]
  routes: [{name: ratings, port: web, paths: [{prefix: /ratings}], methods: [GET]}]
  access: {callers: [{name: mesh, peer: {any: {}}, authentication: Waived}]}
---
apiVersion: trellis.dev/v1alpha1
kind: Goal
metadata: {name: fearless-tests}
spec: {title: Developers test new code without fear, statement: Nothing that runs in test reaches staging., owner: security@example.com}
---
apiVersion: trellis.dev/v1alpha1
kind: ClusterPolicyBinding
metadata: {name: isolate-environments}
spec:
  policy: {name: isolate-environments, version: 1.0.0}
  tier: Mandatory
  mode: Shadow
  namespaces: {matchLabels: {env: staging}}
  parameters: [{name: environments, value: [test]}]
  goals: [fearless-tests]
  contact: security@example.com
`

// kind is one of requests: how many of it there are among a hundred, and what it is counted
// as, in the words of told.
type kind struct {
	name    string
	percent int
	send    func(context.Context) error
	counted []string
	// entries are all that proxies write about it, also those that are counted nowhere.
	entries int
}

// told is a key in one line.
func told(k hits.Key) string {
	return fmt.Sprintf("%s %s at %s of %s/%s/%s by %s %s (%s) for %s", k.Verdict, k.Object, k.Place, k.Namespace, k.Application, k.Route, k.Statement, k.Field, k.Reason, k.Peer)
}

// echo answers what a connection without HTTP says.
func echo(c net.Conn) {
	defer func() { _ = c.Close() }()
	_, _ = io.Copy(c, c)
}

// answered is a request that has to be answered so.
func answered(client *http.Client, url string, want int, header http.Header) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if header != nil {
			r.Header = header
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != want {
			return fmt.Errorf("%s is answered with %d, want %d", url, answer.StatusCode, want)
		}
		return nil
	}
}

// plaintext is a request past all sidecars, to a workload that takes none.
func (m *mesh) plaintext(ctx context.Context) error {
	if answer, err := stack.Send(ctx, m.details.PortAddress("http"), nil, stack.Request{Host: m.details.Host(9080)}); err == nil {
		return fmt.Errorf("plaintext is answered with %d", answer.Status)
	}
	return nil
}

// raw is a connection without HTTP, to an address.
func raw(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		const text = "hello"
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		answer := make([]byte, len(text))
		if _, err = io.ReadFull(c, answer); err == nil && string(answer) != text {
			err = fmt.Errorf("%q comes back", answer)
		}
		return err
	}
}

// strange asks the gateway for a host that it does not serve.
func (m *mesh) strange(ctx context.Context) error {
	answer, err := stack.Send(ctx, m.gateway.HTTPSAddress, &tls.Config{RootCAs: m.pool, ServerName: host}, stack.Request{Host: "nobody.example.com", Path: "/"})
	if err == nil && answer.Status != http.StatusForbidden {
		err = fmt.Errorf("a host that nobody has is answered with %d", answer.Status)
	}
	return err
}

// kinds are all of them; together they have a hundred.
func (m *mesh) kinds() []kind {
	expired, err := m.issuer.ExpiredToken(stack.Claims{"aud": "bookinfo"})
	must(m.t, err)
	good, err := m.issuer.Token(stack.Claims{"aud": "bookinfo"})
	must(m.t, err)
	outside := m.gateway.Client(m.pool)
	with := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	page := "https://" + host
	called := func(from, to *stack.Application, path string, want int) func(context.Context) error {
		return answered(from.Client(), "http://"+to.Host(9080)+path, want, nil)
	}
	return []kind{
		{"a page through the gateway", 30, answered(outside, page+"/productpage", 200, nil), []string{
			"Allowed VirtualService istio-ingress/trellis-host-public.bookinfo.example.com at Gateway of bookinfo/productpage/pages by Application bookinfo/productpage spec.exposures[0].routes[0] (Route) for internet",
			"Allowed AuthorizationPolicy bookinfo/trellis-application-productpage-allow at Workload of bookinfo/productpage/pages by Application bookinfo/productpage spec.exposures[0].routes[0] (Route) for istio-ingress/istio-ingressgateway",
		}, 2},
		{"a login through the gateway", 10, answered(outside, page+"/api/v1/products", 200, with(good)), []string{
			"Allowed VirtualService istio-ingress/trellis-host-public.bookinfo.example.com at Gateway of bookinfo/productpage/catalogue by Application bookinfo/productpage spec.exposures[0].routes[1] (Route) for internet",
			"Allowed AuthorizationPolicy bookinfo/trellis-application-productpage-allow at Workload of bookinfo/productpage/catalogue by Application bookinfo/productpage spec.exposures[0].routes[1] (Route) for istio-ingress/istio-ingressgateway",
		}, 2},
		{"no login", 15, answered(outside, page+"/api/v1/products", 403, nil), []string{
			"Denied AuthorizationPolicy istio-ingress/trellis-host-public.bookinfo.example.com.productpage.bookinfo-deny at Gateway of bookinfo/productpage/catalogue by Application bookinfo/productpage spec.routes[1].authentication (NoToken) for internet",
		}, 1},
		{"a login that is over", 8, answered(outside, page+"/productpage", 401, with(expired)), []string{
			"Denied RequestAuthentication istio-ingress/trellis-ingress-public at Gateway of bookinfo/productpage/pages by SecureIngress istio-ingress/public spec.identityProviders[0] (TokenRefused) for internet",
		}, 1},
		{"a host that nobody has", 2, m.strange, []string{"Denied  at Gateway of // by   (Default) for internet"}, 1},
		{"a caller that is let in", 12, called(m.productpage, m.details, "/details", 200), []string{
			"Allowed AuthorizationPolicy bookinfo/trellis-application-details-allow at Workload of bookinfo/details/details by Application bookinfo/details spec.access.callers[0] (Caller) for bookinfo/productpage",
		}, 2},
		{"a caller that is not let in", 8, called(m.reviews, m.details, "/details", 403), []string{
			"Denied AuthorizationPolicy bookinfo/trellis-application-details-deny at Workload of bookinfo/details/details by Application bookinfo/details spec.access.callers (Caller) for bookinfo/reviews",
		}, 2},
		{"a caller of test", 10, called(m.test, m.ratings, "/ratings", 200), []string{
			"Allowed AuthorizationPolicy bookinfo/trellis-application-ratings-allow at Workload of bookinfo/ratings/ratings by Application bookinfo/ratings spec.access.callers[0] (Caller) for test/runner",
			"WouldDeny AuthorizationPolicy bookinfo/trellis-application-ratings-shadow at Workload of bookinfo/ratings/ratings by ClusterPolicyBinding isolate-environments spec.policy (Policy) for test/runner",
		}, 2},
		{"plaintext", 3, m.plaintext, []string{
			"Failed PeerAuthentication bookinfo/trellis-application-details at Workload of bookinfo/details/ by Application bookinfo/details spec.access.mutualTLS (PlaintextToStrict) for none",
		}, 1},
		{"a connection without HTTP", 1, raw(m.reviews.EgressAddress(9090)), []string{
			// Envoy does not say which rule lets in a connection without HTTP.
			"Allowed  at Workload of bookinfo/ratings/ by   () for bookinfo/reviews",
		}, 2},
		{"a connection without HTTP and TLS", 1, raw(m.ratings.PortAddress("tcp")), []string{
			"Allowed  at Workload of bookinfo/ratings/ by   () for none",
			"WouldDeny AuthorizationPolicy bookinfo/trellis-application-ratings-shadow at Workload of bookinfo/ratings/ by ClusterPolicyBinding isolate-environments spec.policy (Policy) for none",
		}, 1},
	}
}

// send sends a number of requests, of all kinds in turn, by several at once.
func (m *mesh) send(kinds []kind, n int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 8*time.Minute)
	defer cancel()
	// Each hundred has all kinds, mixed.
	var hundred []*kind
	for i := range kinds {
		for range kinds[i].percent {
			hundred = append(hundred, &kinds[i])
		}
	}
	if len(hundred) != 100 || n%100 != 0 {
		m.t.Fatalf("%d kinds of a hundred, and %d requests", len(hundred), n)
	}
	next := make(chan *kind)
	failed := make(chan error, n)
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			for k := range next {
				if err := k.send(ctx); err != nil {
					failed <- fmt.Errorf("%s: %w", k.name, err)
				}
			}
		})
	}
	for i := range n {
		next <- hundred[i*37%100]
	}
	close(next)
	work.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		m.t.Fatalf("%d requests were not answered as they should: %v", len(errs), errors.Join(errs[:min(len(errs), 5)]...))
	}
}

// expected is what a number of requests is counted as.
func expected(kinds []kind, n int) (counts map[string]uint64, sum uint64, entries int64) {
	counts = map[string]uint64{}
	for _, k := range kinds {
		of := n * k.percent / 100
		entries += int64(of * k.entries)
		for _, one := range k.counted {
			counts[one] += uint64(of)
			sum += uint64(of)
		}
	}
	return counts, sum, entries
}

// warm sends each kind until it is answered as it should.
func (m *mesh) warm(kinds []kind) {
	m.t.Helper()
	for _, k := range kinds {
		m.until(k.name, k.send)
	}
}

// inStore reads the store of a server that is dead.
func (m *mesh) inStore(dir string, since time.Time) ([]hits.Total, []hits.Interval) {
	m.t.Helper()
	store, err := embedded.Open(dir, embedded.Options{})
	must(m.t, err)
	defer func() { must(m.t, store.Close()) }()
	if is := store.State(); len(is.Losses) > 0 {
		m.t.Errorf("it has lost %+v", is.Losses)
	}
	totals, err := store.Sum(m.t.Context(), hits.Filter{}, since, time.Now())
	must(m.t, err)
	ran, err := store.Ran(m.t.Context(), since, time.Now())
	must(m.t, err)
	return totals, ran
}

// same holds counts against what was sent: nothing is missing, and nothing else is there.
func (m *mesh) same(totals []hits.Total, want map[string]uint64) {
	m.t.Helper()
	got := map[string]uint64{}
	for _, t := range totals {
		got[told(t.Key)] += t.N
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if got[key] != want[key] {
			m.t.Errorf("%d, want %d: %s", got[key], want[key], key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] == 0 {
			m.t.Errorf("none, want %d: %s", want[key], key)
		}
	}
}

// line is a row in one line.
func line(r hits.Row) string {
	return strings.Join(strings.Fields(fmt.Sprintln(r.Name, r.Namespace, r.Application, r.Route, r.Statement, r.Field, r.Reason)), " ") +
		fmt.Sprintf(": %d %d %d %d", r.Allowed, r.Denied, r.WouldDeny, r.Failed)
}

func TestEveryRequestIsCountedOnceAndAServerThatWasKilledLeavesAGap(t *testing.T) {
	m := begin(t)
	kinds := m.kinds()
	// Applications with tests come into force when a server has run them. What comes of the
	// first requests is nobody's business.
	kill := m.run(t.TempDir())
	m.warm(kinds)
	kill()
	quiet(t, m.sink)
	store := t.TempDir()
	const half, away = 5_000, 1_000
	first, sum, _ := expected(kinds, half)

	began := time.Now()
	kill = m.run(store)
	m.way.Lead(m.process.Envoy)
	m.send(kinds, half)
	m.countedAre(kill, store, began, sum, first)

	// While it is away, others hear what proxies say.
	before := m.sink.Entries()
	m.way.Lead(m.sink.Address())
	left := time.Now()
	m.send(kinds, away)
	_, _, entries := expected(kinds, away)
	m.until("proxies to have sent what they had", func(context.Context) error {
		if got := m.sink.Entries() - before; got < entries {
			return fmt.Errorf("%d of %d", got, entries)
		}
		return nil
	})
	back := time.Now()
	kill = m.run(store)
	m.way.Lead(m.process.Envoy)
	m.send(kinds, half)
	both, _, _ := expected(kinds, 2*half)
	totals, ran := m.countedAre(kill, store, began, sum, both)
	m.layers(totals)
	for _, i := range ran {
		if i.From.Before(back) && i.To.After(left) {
			t.Errorf("nobody counted from %s to %s, and it ran from %s to %s", left, back, i.From, i.To)
		}
	}
	if len(ran) != 2 {
		t.Errorf("it ran %v", ran)
	}
	must(t, m.Failed())
}

// countedAre waits until the store has so many verdicts, which are those that were sent, and
// kills the server.
func (m *mesh) countedAre(kill func(), store string, since time.Time, sum uint64, want map[string]uint64) ([]hits.Total, []hits.Interval) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	err := stack.Until(ctx, "all to be counted", func(ctx context.Context) error {
		got, err := m.kept(ctx)
		if err == nil && got < sum {
			err = fmt.Errorf("%d of %d", got, sum)
		}
		return err
	})
	kill()
	totals, ran := m.inStore(store, since)
	m.same(totals, want)
	must(m.t, err)
	return totals, ran
}

// layers are what people read: rows, of goals down to rules.
func (m *mesh) layers(totals []hits.Total) {
	m.t.Helper()
	for layer, want := range rows {
		owners := func(statement, _ string) []string {
			switch {
			case statement != "ClusterPolicyBinding isolate-environments":
				return nil
			case layer == hits.Goals:
				return []string{"fearless-tests"}
			}
			return []string{statement}
		}
		var got []string
		for _, r := range hits.By(layer, totals, nil, owners) {
			got = append(got, line(r))
		}
		if !slices.Equal(got, want) {
			m.t.Errorf("by %s:\n%s\nwant\n%s", layer, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// rows are those of 10,000 requests: allowed, denied, would be denied, failed.
var rows = map[hits.Layer][]string{
	hits.Goals:    {"fearless-tests: 0 0 1100 0"},
	hits.Policies: {"ClusterPolicyBinding isolate-environments: 0 0 1100 0"},
	hits.Applications: {
		": 0 200 0 0",
		"bookinfo details: 1200 800 0 300",
		"bookinfo productpage: 4000 2300 0 0",
		"bookinfo ratings: 1200 0 1100 0",
	},
	hits.Routes: {
		": 0 200 0 0",
		"bookinfo details: 0 0 0 300",
		"bookinfo details details: 1200 800 0 0",
		"bookinfo productpage catalogue: 1000 1500 0 0",
		"bookinfo productpage pages: 3000 800 0 0",
		"bookinfo ratings: 200 0 100 0",
		"bookinfo ratings ratings: 1000 0 1000 0",
	},
	hits.Rules: {
		": 200 0 0 0",
		"Default: 0 200 0 0",
		"Application bookinfo/details spec.access.callers: 0 800 0 0",
		"Application bookinfo/details spec.access.callers[0]: 1200 0 0 0",
		"Application bookinfo/details spec.access.mutualTLS: 0 0 0 300",
		"Application bookinfo/productpage spec.exposures[0].routes[0]: 3000 0 0 0",
		"Application bookinfo/productpage spec.exposures[0].routes[1]: 1000 0 0 0",
		"Application bookinfo/productpage spec.routes[1].authentication: 0 1500 0 0",
		"Application bookinfo/ratings spec.access.callers[0]: 1000 0 0 0",
		"ClusterPolicyBinding isolate-environments spec.policy: 0 0 1100 0",
		"SecureIngress istio-ingress/public spec.identityProviders[0]: 0 800 0 0",
	},
}
