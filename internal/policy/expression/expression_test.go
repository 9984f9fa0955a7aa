// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/policy/expression"
)

var parameters = []v1alpha1.PolicyParameter{
	{Name: "text", Type: v1alpha1.ParameterString},
	{Name: "texts", Type: v1alpha1.ParameterStrings},
	{Name: "number", Type: v1alpha1.ParameterInteger},
	{Name: "flag", Type: v1alpha1.ParameterBoolean},
	{Name: "time", Type: v1alpha1.ParameterDuration},
	{Name: "labels", Type: v1alpha1.ParameterLabels},
}

var values = map[string]any{
	"text": "a", "texts": []any{"a", "b"}, "number": int64(3), "flag": true, "time": "90s", "labels": map[string]any{"env": "test"},
}

func vocabulary(t *testing.T, sort expression.Sort) *expression.Vocabulary {
	t.Helper()
	v, err := expression.For(sort, parameters)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEachSortHasItsVariablesAndNoOthers(t *testing.T) {
	const noneOfIt = "undeclared reference"
	for _, c := range []struct {
		sort expression.Sort
		text v1alpha1.Expression
		// problem is part of the error; empty where it compiles.
		problem string
	}{
		{expression.SortApplication, "namespaceObject.labels[?'env'].orValue('') == 'test'", ""},
		{expression.SortApplication, "application.labels['team'] == application.annotations['team'] && application.name != ''", ""},
		{expression.SortApplication, "has(application.spec.access.callers) && application.spec.access.callers.all(c, has(c.peer.any))", ""},
		{expression.SortApplication, "application.spec.service == application.spec.servce", "undefined field 'servce'"},
		{expression.SortApplication, "route.name == ''", noneOfIt},
		{expression.SortApplication, "application.metadata.name == ''", "undefined field 'metadata'"},
		{expression.SortRoute, "authentication == 'None' && hosts.size() > 0 && has(route.timeout) && duration(route.timeout) < params.time", ""},
		{expression.SortRoute, "route.paths.exists(p, has(p.prefix) && p.prefix == '/')", ""},
		{expression.SortRoute, "route.authentication.mode == 'None' || route.authentication.scopes.exists(s, s in params.texts)", ""},
		{expression.SortRoute, "route.path == '/'", "undefined field 'path'"},
		{expression.SortRoute, "exposure.name == ''", noneOfIt},
		{expression.SortExposure, "exposure.routes.size() > 0 && hosts.all(h, h.endsWith('.test')) && ingress.name == 'public' && ingress.__namespace__ == 'edge'", ""},
		{expression.SortExposure, "exposure.hosts.size() > 0", "undefined field 'hosts'"},
		{expression.SortCaller, "has(caller.peer.any) || caller.peer.application.__namespace__ == callerNamespace.name", ""},
		{expression.SortCaller, "caller.labels.size() > 0", "undefined field 'labels'"},
		{expression.SortSecureIngress, "ingress.spec.tls.minimumVersion == 'TLSv1_3' && namespaceObject.name != ''", ""},
		{expression.SortSecureIngress, "application.name == ''", noneOfIt},
		{expression.SortIstioObject, "object.kind == 'Gateway' && object.hosts.size() + object.gateways.size() > 0 && object.mode + object.action + object.name != ''", ""},
		{expression.SortIstioObject, "object.spec.mtls.mode == ''", "undefined field 'spec'"},
		{expression.SortPolicyException, "days <= params.number && exception.spec.reason != '' && exception.spec.expires > timestamp('2026-01-01T00:00:00Z')", ""},
		{expression.SortPolicyException, "exception.spec.days > 1", "undefined field 'days'"},
		{expression.SortNamespace, "caller.name in params.texts && caller.labels == params.labels", ""},
		{expression.SortNamespace, "namespaceObject.name == ''", noneOfIt},
		{expression.SortParameters, "params.flag && params.number > 1 && params.text == '' && params.time > duration('1s')", ""},
		{expression.SortParameters, "caller.name == ''", noneOfIt},
		{expression.SortParameters, "params.txet == ''", "undefined field 'txet'"},
		{expression.SortParameters, "params.number == 'three'", "no matching overload"},
		{expression.SortParameters, "params.text", "gives string and must give bool"},
		{expression.SortParameters, "params.", "Syntax error"},
		{expression.SortParameters, "", "Syntax error"},
	} {
		_, err := vocabulary(t, c.sort).Compile(c.text, expression.Bool)
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %s: %v", c.sort, c.text, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s: %s: got %v, want %q", c.sort, c.text, err, c.problem)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: %s: the error is not one line: %v", c.sort, c.text, err)
		}
	}
}

func TestThereIsNoOtherSort(t *testing.T) {
	if _, err := expression.For("Pod", nil); err == nil || !strings.Contains(err.Error(), "use Application, Route") {
		t.Errorf("got %v", err)
	}
}

func TestParametersHaveTheirTypes(t *testing.T) {
	facts := expression.Facts{Params: expression.Params(parameters, values)}
	v := vocabulary(t, expression.SortParameters)
	for text, want := range map[v1alpha1.Expression]bool{
		"params.text == 'a'":                          true,
		"params.texts.exists(x, x == 'b')":            true,
		"params.number + 1 == 4":                      true,
		"params.flag":                                 true,
		"params.time == duration('1m30s')":            true,
		"params.labels['env'] == 'test'":              true,
		"params.labels[?'no'].hasValue()":             false,
		"params.texts.size() == params.number":        false,
		"quantity('1Gi').isLessThan(quantity('2Gi'))": true,
	} {
		p, err := v.Compile(text, expression.Bool)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := p.Bool(facts); err != nil || got != want {
			t.Errorf("%s gives %v, %v", text, got, err)
		}
	}
}

func TestExpressionsGiveWhatIsAskedOfThem(t *testing.T) {
	facts := expression.Facts{Params: expression.Params(parameters, values)}
	v := vocabulary(t, expression.SortParameters)
	text, err := v.Compile("params.text + 'b'", expression.String)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := text.Text(facts); got != "ab" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, wrong := range []func() error{
		func() error { _, err := text.Bool(facts); return err },
		func() error { _, err := text.Duration(facts); return err },
		func() error { _, err := text.Texts(facts); return err },
	} {
		if err := wrong(); err == nil || !strings.Contains(err.Error(), "must give") {
			t.Errorf("a string passes for something else: %v", err)
		}
	}
	time1, err := v.Compile("params.time + duration('1s')", expression.Duration)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := time1.Duration(facts); got != 91*time.Second || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	list, err := v.Compile("params.texts + ['c']", expression.Strings)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := list.Texts(facts); strings.Join(got, " ") != "a b c" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAnExpressionThatCostsTooMuchIsStopped(t *testing.T) {
	long := make([]any, 1000)
	for i := range long {
		long[i] = "a"
	}
	huge := map[string]any{"text": "", "texts": long, "number": int64(0), "flag": false, "time": "0s", "labels": map[string]any{}}
	p, err := vocabulary(t, expression.SortParameters).Compile("params.texts.all(a, params.texts.all(b, a == b))", expression.Bool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Bool(expression.Facts{Params: expression.Params(parameters, huge)}); err == nil || !strings.Contains(err.Error(), "costs more than") {
		t.Errorf("a million comparisons: %v", err)
	}
	if got, err := p.Bool(expression.Facts{Params: expression.Params(parameters, values)}); err != nil || got {
		t.Errorf("four comparisons: %v, %v", got, err)
	}
}

func TestWhatIsNotThereIsAnErrorAndNotEmpty(t *testing.T) {
	v := vocabulary(t, expression.SortNamespace)
	facts := expression.NewFacts(map[string]expression.Value{"caller": expression.Namespace("n", nil)}).With(expression.Params(parameters, values))
	for text, want := range map[v1alpha1.Expression]string{
		"caller.labels['env'] == 'test'":        "no such key",
		"params.texts[7] == ''":                 "index out of bounds",
		"1 / (params.number - 3) == 1":          "division by zero",
		"duration(params.text).getHours() == 1": "type conversion error",
	} {
		p, err := v.Compile(text, expression.Bool)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Bool(facts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	p, err := v.Compile("caller.labels[?'env'].orValue('none') == 'none'", expression.Bool)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Bool(facts); err != nil || !got {
		t.Errorf("labels that are not there: %v, %v", got, err)
	}
	if _, err := p.Bool(expression.Facts{}); err == nil {
		t.Error("without a caller it is an error")
	}
}

func TestWordsThatCELReservesAreKnown(t *testing.T) {
	for word, want := range map[string]bool{"namespace": true, "in": true, "for": true, "name": false, "days": false, "package": true} {
		if got := expression.Reserved(word); got != want {
			t.Errorf("%s: %v", word, got)
		}
	}
}
