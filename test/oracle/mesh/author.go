// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fields are a part of an object as it is in YAML.
type fields = map[string]any

// object is one object of a configuration.
type object struct {
	group, kind, namespace, name string
	annotations                  map[string]string
	spec                         any
}

func (o object) key() string {
	return strings.Join([]string{o.kind, o.namespace, o.name}, "/")
}

// content is the object as the API server takes it.
func (o object) content() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: fields{"spec": plain(o.spec)}}
	u.SetAPIVersion(o.group + "/v1")
	u.SetKind(o.kind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	u.SetAnnotations(o.annotations)
	return u
}

// plain makes a value of the kinds that JSON knows, which is what unstructured
// objects may hold.
func plain(v any) any {
	switch v := v.(type) {
	case fields:
		out := make(fields, len(v))
		for k, one := range v {
			out[k] = plain(one)
		}
		return out
	case []fields:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case map[string]string:
		out := make(fields, len(v))
		for k, one := range v {
			out[k] = one
		}
		return out
	case int:
		return int64(v)
	}
	return v
}

// author writes objects, the same for the same seed.
type author struct {
	*rand.Rand
	stage *stage
	n     map[string]int // objects by kind, for their names
	more  []string       // hosts for DestinationRules, beside those of all tests
	out   []object
}

func (a *author) chance(percent int) bool { return a.IntN(100) < percent }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// one is an element of a list.
func one[T any](a *author, from []T) T { return from[a.IntN(len(from))] }

// some takes 1 to n different elements.
func some[T any](a *author, from []T, n int) []T {
	out := slices.Clone(from)
	a.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+a.IntN(min(n, len(out)))]
}

// add writes an object under the next name of its kind, so that the objects of
// the next configuration replace those of this one.
func (a *author) add(group, kind, namespace string, spec fields) *object {
	name := fmt.Sprintf("%s-%d", strings.ToLower(kind), a.n[kind])
	a.n[kind]++
	a.out = append(a.out, object{group: group, kind: kind, namespace: namespace, name: name, spec: spec})
	return &a.out[len(a.out)-1]
}

const (
	security   = "security.istio.io"
	networking = "networking.istio.io"
)

// What objects and requests are made of. Both draw from the same words, so that
// matchers often hit and often just miss.
var (
	pathWords = []string{
		"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/A", "/a-b", "/b", "/b/a", "/b/a+b", "/b/@me", "/c", "/c/v1:run", "/c/d/e/f", "/a.b", "/~a", "/b/x=1", "/a/", "/x.html",
	}
	templateWords = []string{"/{*}", "/a/{*}", "/{**}", "/a/{**}", "/{*}/b", "/a/{*}/c", "/{**}/c", "/c/{*}/{**}", "/{*}/{*}", "/a/{**}/c.html", "/b/{*}/"}
	queryWords    = []string{"", "?x=1", "?x=2&y", "?y=/a&x=1", "?x=%31", "?access_token=", "?"}
	meshHosts     = []string{
		"cart.shop.svc.cluster.local", "ledger.bank.svc.cluster.local", "mainframe.legacy.svc.cluster.local", "visitor.people.svc.cluster.local",
	}
	meshShort   = []string{"cart", "cart.shop", "ledger.bank", "mainframe.legacy", "cart.shop.svc", "visitor.people"}
	entryHosts  = []string{"api.partner.test", "db.partner.test", "*.wild.test"}
	outerHosts  = []string{"www.example.com", "shop.example.com", "a.shop.example.com", "bank.test"}
	methodWords = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}
	headerNames = []string{"x-user", "x-role", "x-env", "X-Mixed", "user-agent", "x-forwarded-for", "cookie", "accept"}
	headerWords = []string{"", "alice", "bob", "admin", "Admin", "admin,staff", "prod", "pro", "7", "a b", "x/y", "alice;q=1", "prod-1"}
	headerRegex = []string{"a.*", "^admin$", "[a-z]+", "(prod|test)-?[0-9]*", ".*", "ad", "\\d+", "(?i)ADMIN"}
	pathRegex   = []string{"/a.*", "/a(/[a-z]+)*", "/[^/]+", "^/b/.*$", "/.*\\.html", "/(a|b)/?.*", "/c/v1:run", ".*/b", "(?i)/A/B"}
	claimWords  = []string{"admin", "clerk", "staff", "partner", "gold", "silver", "read", "write", "alice", "7"}
	principals  = []string{
		"cluster.local/ns/shop/sa/cart", "cluster.local/ns/shop/sa/cart-canary", "cluster.local/ns/bank/sa/ledger", "cluster.local/ns/people/sa/visitor",
		"cluster.local/ns/edge/sa/door", "cluster.local/ns/legacy/sa/mainframe", "other.domain/ns/shop/sa/cart",
	}
	principalForms = []string{"*", "cluster.local/*", "cluster.local/ns/shop/*", "*/sa/cart", "*cart*", "cluster.local/ns/people/sa/vis*"}
	workingSpaces  = []string{"shop", "bank", "people", "edge"}
	allSpaces      = []string{"shop", "bank", "people", "edge", "legacy", rootNamespace}
)

// selectors are what workloads of a namespace are chosen by; nil is all.
func (a *author) selector(namespace string) fields {
	choices := map[string][]map[string]string{
		"shop": {{"app": "cart"}, {"version": "v1"}, {"app": "cart", "version": "v2"}}, "bank": {{"app": "ledger"}, {"version": "v2"}},
		"people": {{"app": "visitor"}}, "edge": {{"istio": "door"}}, rootNamespace: {{"version": "v1"}, {"istio": "door"}, {"app": "visitor"}},
	}[namespace]
	if len(choices) == 0 || a.chance(50) {
		return nil
	}
	return fields{"matchLabels": one(a, choices)}
}

func (a *author) selected(namespace string, spec fields) fields {
	if s := a.selector(namespace); s != nil {
		spec["selector"] = s
	}
	return spec
}

// space is mostly a working namespace, and the root one now and then.
func (a *author) space() string {
	if a.chance(15) {
		return rootNamespace
	}
	return one(a, workingSpaces)
}

// compose writes a configuration.
func compose(seed uint64, s *stage) []object {
	a := &author{Rand: rand.New(rand.NewPCG(seed, 0)), stage: s, n: map[string]int{}}
	stated := a.chance(20)
	if stated {
		a.stated()
	}
	for range a.IntN(5) {
		a.authorization()
	}
	for range pick(a.Rand, 0, 1, 1, 2, 3) {
		a.requestAuthentication()
	}
	for range pick(a.Rand, 0, 0, 1, 1, 2, 3) {
		a.peerAuthentication()
	}
	for range pick(a.Rand, 0, 0, 1, 2, 3) {
		a.destinationRule()
	}
	for range pick(a.Rand, 0, 0, 1, 2) {
		a.serviceEntry()
	}
	if !stated || a.chance(30) {
		a.gateways()
	}
	for range a.IntN(3) {
		a.meshService()
	}
	if a.chance(25) {
		a.sidecar()
	}
	return a.out
}
