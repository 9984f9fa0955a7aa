// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// facts are those of a route of an Application with so many routes.
func facts(routes int) Facts {
	route := func(i int) map[string]any {
		return map[string]any{
			"name": fmt.Sprintf("r%d", i), "port": "web", "paths": []any{map[string]any{"prefix": "/"}}, "methods": []any{"GET", "PUT"},
		}
	}
	list := make([]any, routes)
	for i := range list {
		list[i] = route(i)
	}
	spec := map[string]any{
		"service": "web", "ports": []any{map[string]any{"name": "web", "port": int64(80), "protocol": "HTTP"}}, "routes": list,
		"exposures": []any{map[string]any{"name": "out", "routes": []any{"r0", "r1"}}},
	}
	parameters := []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}}
	return NewFacts(map[string]Value{
		"namespaceObject": Namespace("shop", map[string]string{"env": "prod"}),
		"application":     Object(SortApplication, "web", map[string]string{"team": "a"}, map[string]string{"note": strings.Repeat("x", 100_000)}, spec),
		"route":           Part(SortRoute, route(0)),
		"authentication":  Text("None"),
		"hosts":           Texts([]string{"a.example.com", "b.example.com"}),
	}).With(Params(parameters, map[string]any{"list": []any{"GET", "r0"}}))
}

func compiled(t *testing.T, text string) *Program {
	t.Helper()
	v, err := For(SortRoute, []v1alpha1.PolicyParameter{{Name: "list", Type: v1alpha1.ParameterStrings}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := v.Compile(v1alpha1.Expression(text), Bool)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func TestWhetherTheCostIsCountedChangesNoAnswer(t *testing.T) {
	for _, text := range []string{
		"application.spec.?exposures.orValue([]).exists(e, route.name in e.routes)",
		"application.spec.?tests.orValue([]).size() > 0",
		"application.spec.routes.exists_one(r, r == application.spec.routes[0])",
		"application.spec.routes[0] == application.spec.routes[1]",
		"route.methods.all(m, m in params.list)",
		"route.methods == application.spec.routes[1].methods",
		"params.list + ['x'] == ['GET', 'r0', 'x']",
		"['GET', 'r0'] == params.list",
		"hosts.map(h, h.split('.')[0]) == ['a', 'b']",
		"params.list[5] == 'x'",
		"namespaceObject.labels.all(k, namespaceObject.labels[k] == 'prod')",
		"namespaceObject.labels['absent'] == 'x'",
		"namespaceObject.labels[?'absent'].orValue('') == ''",
		"has(route.timeout) || !has(application.spec.access)",
		"duration(authentication) > duration('1s')",
		"application.labels.team.matches('^[a-c]$')",
		"application.spec.ports.exists(p, p.port == 80 && p.protocol in ['HTTP', 'GRPC'])",
	} {
		p, f := compiled(t, text), facts(3)
		counted, plain := *p, *p
		counted.upTo, plain.upTo = 0, f.size
		// Twice: what was read is kept, and must read the same.
		for range 2 {
			want, wantErr := counted.Bool(f)
			got, gotErr := plain.Bool(f)
			if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Errorf("%s: without counting %v (%v), with it %v (%v)", text, got, gotErr, want, wantErr)
			}
		}
	}
}

func TestWhatMayCostTooMuchIsCounted(t *testing.T) {
	const nested = "application.spec.routes.all(a, application.spec.routes.all(b, application.spec.routes.all(c, a.port == b.port && b.port == c.port)))"
	p := compiled(t, nested)
	if holds, err := p.Bool(facts(4)); err != nil || !holds {
		t.Errorf("with 4 routes: %v (%v), want true", holds, err)
	}
	if _, err := p.Bool(facts(60)); err == nil || !strings.Contains(err.Error(), "costs more than") {
		t.Errorf("with 60 routes: %v, want an error about the cost", err)
	}
}

func TestWhatIsNoPartOfFactsIsNeverTakenForSmall(t *testing.T) {
	for _, text := range []string{
		"application.annotations.note.contains('y')",
		"application.annotations.all(k, application.annotations[k].contains('y'))",
		"application.annotations[?'note'].orValue('').contains('y')",
		"hosts.map(h, h.split('.')).exists(l, l.exists(w, w.contains('y')))",
	} {
		if p := compiled(t, text); p.upTo != 0 {
			t.Errorf("%s: is not counted for facts up to a size of %d", text, p.upTo)
		}
	}
}
