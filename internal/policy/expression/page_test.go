// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the tables of docs/concepts/policy-expressions.md")

const (
	page  = "../../../docs/concepts/policy-expressions.md"
	begin = "<!-- Written by `go test ./internal/policy/expression -run Page -update`. Do not edit. -->\n"
	end   = "<!-- As far as here. -->\n"
)

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sorts are in the order of the page.
var sorts = []Sort{
	SortApplication, SortRoute, SortExposure, SortCaller, SortCall, SortSecureIngress, SortIstioObject, SortPolicyException,
	SortNamespace, SortCallingApplication, SortParameters,
}

// TestThePageHasTheVariablesOfEverySubject keeps its tables from ageing.
func TestThePageHasTheVariablesOfEverySubject(t *testing.T) {
	text := readPage(t)
	before, rest, one := strings.Cut(text, begin)
	_, after, two := strings.Cut(rest, end)
	if !one || !two {
		t.Fatalf("%s has no place for the tables", page)
	}
	want := before + begin + tables(t) + "\n" + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != want {
		t.Errorf("%s is not what expressions know; run: go test ./internal/policy/expression -run Page -update", page)
	}
}

// titles name the sorts that are no subject.
var titles = map[Sort]string{
	SortNamespace:          "`from` of denyAccess and restrictAccess, `from.namespaces` of assertions",
	SortCallingApplication: "`applications` of denyAccess and restrictAccess",
	SortParameters:         "`scopes`, `maximum`, `fallback`, `minimumVersion` and `hosts` of egress",
}

// known are the schemas that are parts of definitions, by the field that they are.
func known() map[*structuralschema.Structural]string {
	s := own()
	return map[*structuralschema.Structural]string{
		&s.route: "an item of `spec.routes`", &s.exposure: "an item of `spec.exposures`", &s.caller: "an item of `spec.access.callers`",
		&s.call: "an item of `spec.access.calls`",
	}
}

func tables(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, sort := range sorts {
		variables, ok := variablesOf(sort)
		if !ok {
			t.Fatalf("%s is no sort", sort)
		}
		title := titles[sort]
		if title == "" {
			title = string(sort)
		}
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		if len(variables) == 0 {
			b.WriteString("`params` alone.\n")
			continue
		}
		b.WriteString("| Variable | Type |\n| --- | --- |\n")
		for _, v := range variables {
			what := describe(v.schema)
			if part := known()[v.schema]; part != "" {
				what = part + ": " + strings.TrimPrefix(what, "object: ")
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", v.name, what)
		}
	}
	return b.String()
}

// describe names a type, and the fields of an object.
func describe(s *structuralschema.Structural) string {
	if len(s.Properties) == 0 {
		return typeName(s)
	}
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		fields = append(fields, fmt.Sprintf("`%s` (%s)", name, typeName(&p)))
	}
	return "object: " + strings.Join(fields, ", ")
}

func typeName(s *structuralschema.Structural) string {
	switch {
	case s.Type == "array":
		return "list of " + typeName(s.Items)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		return "map of " + typeName(s.AdditionalProperties.Structural)
	case s.Type == "string" && s.ValueValidation != nil && s.ValueValidation.Format == "date-time":
		return "timestamp"
	case s.Type == "string" && s.ValueValidation != nil && s.ValueValidation.Format == "duration":
		return "duration"
	case s.XIntOrString:
		return "int or string"
	}
	return map[string]string{"integer": "int", "boolean": "bool"}[s.Type] + map[string]string{"string": "string", "object": "object"}[s.Type]
}

// pageParameters are those that examples of the page may read.
var pageParameters = []v1alpha1.PolicyParameter{
	{Name: "label", Type: v1alpha1.ParameterString}, {Name: "environments", Type: v1alpha1.ParameterStrings},
	{Name: "maximum", Type: v1alpha1.ParameterDuration}, {Name: "maximumDays", Type: v1alpha1.ParameterInteger},
	{Name: "optional", Type: v1alpha1.ParameterBoolean}, {Name: "labels", Type: v1alpha1.ParameterLabels},
}

// TestEveryExampleOfThePageCompiles takes each line of a block "text cel SORT TYPE" for an
// expression of that sort.
func TestEveryExampleOfThePageCompiles(t *testing.T) {
	types := map[string]*cel.Type{"bool": Bool, "int": Whole, "string": String, "strings": Strings, "duration": Duration}
	expressions := 0
	var words []string
	var vocabulary *Vocabulary
	for i, line := range strings.Split(readPage(t), "\n") {
		where := fmt.Sprintf("%s:%d", page, i+1)
		if info, fence := strings.CutPrefix(line, "```"); fence {
			words = strings.Fields(info)
			if len(words) < 2 || words[1] != "cel" {
				words = nil
				continue
			}
			if len(words) != 4 || types[words[3]] == nil {
				t.Fatalf("%s: %q is not text cel SORT TYPE", where, info)
			}
			var err error
			if vocabulary, err = For(Sort(words[2]), pageParameters); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			continue
		}
		if words == nil || strings.HasPrefix(line, "//") {
			continue
		}
		expressions++
		if _, err := vocabulary.Compile(v1alpha1.Expression(line), types[words[3]]); err != nil {
			t.Errorf("%s: %s\n%v", where, line, err)
		}
	}
	if expressions < 20 {
		t.Errorf("%d expressions were found", expressions)
	}
}
