// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ask

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask/class"
	"github.com/trellis-mesh/trellis/internal/ask/space"
	"github.com/trellis-mesh/trellis/internal/ask/witness"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// AgreesWithRandomRequests asks of many random requests both the class that they
// belong to and package decide; it returns how many it asked of which outcome.
func AgreesWithRandomRequests(t *testing.T, w *World, seed uint64, each int) map[string]int {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	asked := map[string]int{}
	doors, problems := w.gateways()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, n := range w.Nodes {
		if n.Type == "sidecar" {
			doors = append(doors, w.workloadDoors(n)...)
		}
	}
	for _, d := range doors {
		agrees(t, w, d, r, each, asked)
	}
	return asked
}

func agrees(t *testing.T, w *World, d *door, r *rand.Rand, each int, asked map[string]int) {
	t.Helper()
	verdicts := map[*class.Point]*decided{}
	var known []witness.Request
	e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Identities: w.identities()}
	root, notes := e.Explore(func(p *class.Point) {
		request := d.Witness(p)
		verdicts[p] = w.decide(d, request)
		known = append(known, request)
	})
	if len(notes) > 0 {
		t.Logf("%s: %v", d.key, notes)
	}
	asked["stopped"] += stopped(t, w, d, verdicts)
	for range each {
		request := another(r, known)
		p, found := root.Find(request)
		if !found {
			t.Fatalf("%s: no class has %+v", d.key, request)
		}
		want := w.decide(d, request)
		got := verdicts[p]
		asked[string(want.outcome)]++
		if got.outcome != want.outcome || got.passes() && got.place() != want.place() {
			t.Fatalf("%s: %+v is %s %s, its class with %+v %s %s", d.key, request, want.outcome, want.details, d.Witness(p), got.outcome, got.details)
		}
	}
}

// stopped counts the classes that are not visited where only those are wanted that
// may pass. None of them passes, and of none it is unknown.
func stopped(t *testing.T, w *World, d *door, verdicts map[*class.Point]*decided) int {
	t.Helper()
	visited := map[string]bool{}
	e := &space.Explorer{Sides: []*space.Side{w.side(d)}, Identities: w.identities(), Passing: true}
	e.Explore(func(p *class.Point) { visited[fmt.Sprintf("%+v", d.Witness(p))] = true })
	count := 0
	for p, v := range verdicts {
		if visited[fmt.Sprintf("%+v", d.Witness(p))] {
			continue
		}
		count++
		if v.passes() || v.outcome == decide.Unknown {
			t.Errorf("%s: %+v is %s, and was not visited", d.key, d.Witness(p), v.outcome)
		}
	}
	return count
}

// another takes each part of a request from another witness, and changes some.
func another(r *rand.Rand, known []witness.Request) witness.Request {
	pick := func() witness.Request { return known[r.IntN(len(known))] }
	out := witness.Request{
		Host: pick().Host, Path: pick().Path, Method: pick().Method, Identity: pick().Identity, Address: pick().Address,
		Headers: pick().Headers,
	}
	if from := pick(); from.Claims != nil {
		out.Claims = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for name, value := range from.Claims.GetFields() {
			out.Claims.Fields[name] = value
		}
		out.Place = from.Place
		if more := pick(); more.Claims != nil && r.IntN(2) == 0 {
			for name, value := range more.Claims.GetFields() {
				if name != "iss" {
					out.Claims.Fields[name] = value
				}
			}
		}
	}
	switch r.IntN(6) {
	case 0:
		out.Path += "tail"
	case 1:
		out.Path += "/deep/er"
	case 2:
		out.Path = out.Path[:1+r.IntN(len(out.Path))]
	case 3:
		out.Host = "other-" + out.Host
	}
	out.Path = clean(out.Path)
	if out.Identity == "" {
		out.Identity = "spiffe://cluster.local/ns/any-other/sa/any-other"
	}
	return out
}

// clean is a path without empty segments.
func clean(path string) string {
	out := filepath.ToSlash(filepath.Clean(path))
	if path != "/" && path[len(path)-1] == '/' && out != "/" {
		out += "/"
	}
	return out
}
