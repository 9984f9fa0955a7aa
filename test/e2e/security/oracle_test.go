// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/oracle"
	"github.com/trellis-mesh/trellis/test/stack"
)

var (
	oracleSeed     = flag.Uint64("oracle.seed", 1, "seed of the random worlds and requests; 0 takes a random one")
	oracleWorlds   = flag.Int("oracle.worlds", 8, "random worlds to apply")
	oracleRequests = flag.Int("oracle.requests", 300, "requests to send in each world")
)

var (
	workloads = []oracle.Workload{
		{Namespace: "orders", Name: "orders", Ports: map[string]int32{"web": 9080, "extra": 9084}},
		{Namespace: "orders", Name: "billing", Ports: map[string]int32{"web": 9080}},
	}
	identified = []oracle.Caller{
		{Name: "checkout", Namespace: "checkout", ServiceAccount: "checkout"},
		{Name: "cart", Namespace: "checkout", ServiceAccount: "cart"},
		{Name: "prometheus", Namespace: "monitoring", ServiceAccount: "prometheus"},
	}
	// Nobody names hidden, and plaintext has no identity.
	everybody = append(slices.Clone(identified), oracle.Caller{Name: "hidden", Namespace: "shop", ServiceAccount: "hidden"}, oracle.Caller{Name: "plaintext"})
)

// judge sends requests to a world and holds the answers to its documents.
type judge struct {
	*oracle.World
	tokens []oracle.Token
	bearer map[string]string
	// sent, reached and served count requests: all, those that reached an
	// application, and those that had to.
	sent, reached, served atomic.Int64
}

func TestNoRequestEscapesItsRouteAndWhatIsAllowedIsServed(t *testing.T) {
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	j := newJudge(t)
	for i := range *oracleWorlds {
		worldSeed := seed<<16 + uint64(i)
		t.Run(fmt.Sprintf("world %d", i), func(t *testing.T) {
			j.install(t, worldSeed)
			requests := oracle.NewRequests(worldSeed, j.World, everybody, j.tokens)
			j.sendAll(t, requests, *oracleRequests)
		})
	}
	sent, reached, served := j.sent.Load(), j.reached.Load(), j.served.Load()
	t.Logf("%d requests: %d reached an application, %d of them had to", sent, reached, served)
	// Enough must get through for a refusal to mean something.
	if reached*10 < sent || served*20 < sent {
		t.Errorf("too few requests get through to say anything")
	}
}

func newJudge(t testing.TB) *judge {
	t.Helper()
	j := &judge{bearer: map[string]string{}}
	shop, both := []string{"shop"}, []string{"read", "write"}
	for _, k := range []struct {
		issuer string
		token  oracle.Token
	}{
		{"customers", oracle.Token{Name: "all", Audiences: shop, Scopes: both, Roles: []string{"admin", "clerk"}}},
		{"customers", oracle.Token{Name: "mobile", Audiences: []string{"mobile"}, Scopes: both, Roles: []string{"admin"}}},
		{"customers", oracle.Token{Name: "reader", Audiences: shop, Scopes: []string{"read"}, Roles: []string{"clerk"}}},
		{"customers", oracle.Token{Name: "bare", Audiences: shop}},
		{"customers", oracle.Token{Name: "elsewhere", Audiences: []string{"elsewhere"}, Scopes: both, Roles: []string{"admin", "clerk"}}},
		{"partners", oracle.Token{Name: "partner", Audiences: shop, Scopes: both, Roles: []string{"admin", "clerk"}}},
		{"alpha", oracle.Token{Name: "alpha", Audiences: shop, Scopes: both, Roles: []string{"admin", "clerk"}}},
		{"beta", oracle.Token{Name: "beta", Audiences: shop, Scopes: both, Roles: []string{"admin", "clerk"}}},
		{"stranger", oracle.Token{Name: "stranger", Invalid: true, Audiences: shop, Scopes: both}},
		{"forger", oracle.Token{Name: "forged", Invalid: true, Audiences: shop, Scopes: both}},
	} {
		text, err := world.issuers[k.issuer].Token(stack.Claims{"aud": k.token.Audiences, "scope": strings.Join(k.token.Scopes, " "), "roles": k.token.Roles})
		if err != nil {
			t.Fatal(err)
		}
		if !k.token.Invalid {
			k.token.Issuer = world.issuers[k.issuer].URL
		}
		j.bearer[k.token.Name] = text
		j.tokens = append(j.tokens, k.token)
	}
	j.bearer["expired"] = world.tokens["expired"]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var objects []client.Object
		for _, workload := range workloads {
			a := &v1alpha1.Application{}
			a.Namespace, a.Name = workload.Namespace, workload.Name
			objects = append(objects, a)
		}
		if err := world.remove(ctx, objects...); err != nil {
			t.Error(err)
		}
	})
	none := oracle.Token{Name: "none"}
	j.tokens = append(j.tokens, oracle.Token{Name: "expired", Invalid: true}, none, none, none, none)
	return j
}

// install applies a random world in place of the one before. The last one is
// taken away when the judge's test ends.
func (j *judge) install(t testing.TB, seed uint64) {
	t.Helper()
	var ingresses []*v1alpha1.SecureIngress
	for _, document := range strings.Split(platform, "\n---\n") {
		in := &v1alpha1.SecureIngress{}
		if err := yaml.Unmarshal([]byte(document), in); err != nil {
			t.Fatal(err)
		}
		in.Spec.IdentityProviders = slices.DeleteFunc(in.Spec.IdentityProviders, func(p v1alpha1.IdentityProvider) bool {
			return p.Name == "disputed" // closed: two keys for one issuer
		})
		ingresses = append(ingresses, in)
	}
	j.World = oracle.NewWorld(seed, ingresses, workloads, identified)
	var documents []string
	for _, a := range j.Applications {
		text, err := yaml.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(text))
	}
	if err := world.apply(t.Context(), strings.Join(documents, "---\n")); err != nil {
		t.Fatal(err)
	}
}

// sendAll sends requests from several goroutines and reports the first few
// that went wrong.
func (j *judge) sendAll(t *testing.T, requests *oracle.Requests, n int) {
	t.Helper()
	next := make(chan *oracle.Request)
	go func() {
		defer close(next)
		for range n {
			next <- requests.Next()
		}
	}()
	var wait sync.WaitGroup
	var wrong atomic.Int64
	for range 4 {
		wait.Go(func() {
			for r := range next {
				if err := j.ask(t.Context(), r); err != nil && wrong.Add(1) <= 5 {
					t.Errorf("%s: %v", r, err)
				}
			}
		})
	}
	wait.Wait()
	if wrong.Load() == 0 {
		return
	}
	for _, a := range j.Applications {
		text, err := yaml.Marshal(a.Spec)
		t.Logf("%s %v\n%s", a.Name, err, text)
	}
}

// ask sends one request and says what is wrong with its answer.
func (j *judge) ask(ctx context.Context, r *oracle.Request) error {
	answer, err := j.send(ctx, r)
	j.sent.Add(1)
	must := j.MustServe(r)
	if err != nil || answer.Header.Get(oracle.HeaderApplication) == "" {
		if must == nil {
			return world.Failed() // a mesh that is gone refuses everything
		}
		if err == nil {
			err = fmt.Errorf("%d %s", answer.Status, answer.Body)
		}
		return fmt.Errorf("%s has to serve it, and it got %w", must.Name, err)
	}
	j.reached.Add(1)
	name := answer.Header.Get(oracle.HeaderApplication)
	if must != nil {
		j.served.Add(1)
		if must.Name != name {
			return fmt.Errorf("%s has to serve it, and %s did", must.Name, name)
		}
	}
	for _, a := range j.Applications {
		if a.Name != name {
			continue
		}
		target := answer.Header.Get(oracle.HeaderTarget)
		violations := j.Violations(oracle.Reached{
			Via: r.Via, Application: a, Port: answer.Header.Get(oracle.HeaderPort), Method: answer.Header.Get(oracle.HeaderMethod),
			Paths: oracle.Readings(target), Token: r.Token, Preflight: r.Preflight,
		})
		if len(violations) > 0 {
			return fmt.Errorf("%s was reached with %q: %s", name, target, strings.Join(violations, "; "))
		}
		return nil
	}
	return errors.New("it reached " + name + ", which is of another world")
}

func (j *judge) send(ctx context.Context, r *oracle.Request) (*stack.Response, error) {
	wire := stack.Request{Method: r.Method, Host: r.Authority, Path: r.Target, Header: http.Header(r.Headers())}
	if text, ok := j.bearer[r.Token.Name]; ok {
		wire.Header.Set("Authorization", "Bearer "+text)
	}
	if r.Ingress != nil {
		gateway := world.public
		if r.Ingress.Namespace == "edge" {
			gateway = world.edge
		}
		config := &tls.Config{RootCAs: world.pools[r.Ingress.Spec.Domains[0].Domain], ServerName: r.Host}
		return stack.Send(ctx, gateway.HTTPSAddress, config, wire)
	}
	to := world.apps[r.To.Name]
	number := map[string]int{"web": 9080, "extra": 9084}[r.Port]
	wire.Host = to.Host(number)
	if r.Caller.ServiceAccount == "" {
		return stack.Send(ctx, to.PortAddress(r.Port), nil, wire)
	}
	return world.apps[r.Caller.Name].Do(ctx, wire)
}

// FuzzRequests lets the fuzzer write the target, the host and the choice of
// everything else, in one world for each worker.
func FuzzRequests(f *testing.F) {
	f.Add(uint16(0), "GET", "/a/..%2fb", "")
	f.Add(uint16(7), "OPTIONS", "//a/b;x/../c", ":8443")
	f.Add(uint16(300), "POST", "/c/v1%3arun?x", ".")
	var j *judge
	if world != nil { // it is nil in the process that only hands out work
		j = newJudge(f)
		j.install(f, *oracleSeed<<16)
	}
	f.Fuzz(func(t *testing.T, choice uint16, method, target, suffix string) {
		if !sendable(method) || !sendable(target) || (suffix != "" && !sendable(suffix)) {
			t.Skip()
		}
		r := oracle.NewRequests(uint64(choice), j.World, everybody, j.tokens).Next()
		r.Method, r.Target, r.Preflight, r.Plain = method, target, false, false
		if r.Ingress != nil {
			r.Authority = r.Host + suffix
		}
		if err := j.ask(t.Context(), r); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	})
}

// sendable reports whether a text can be a part of a request line.
func sendable(s string) bool {
	return s != "" && len(s) < 1000 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
