// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/hits"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// total has words: "web@gateway allowed 5", with "route=R line=STATEMENT:FIELD last=MINUTE
// reason=R" where they matter.
func total(t *testing.T, text string) hits.Total {
	t.Helper()
	words := strings.Fields(text)
	name, place, _ := strings.Cut(words[0], "@")
	out := hits.Total{Key: hits.Key{Namespace: "shop", Application: name, Rule: -1, Place: hits.Place(strings.ToUpper(place[:1]) + place[1:])}}
	out.Verdict = map[string]hits.Verdict{"allowed": hits.Allowed, "denied": hits.Denied, "would": hits.WouldDeny, "failed": hits.Failed}[words[1]]
	if _, err := fmt.Sscan(words[2], &out.N); err != nil || out.Verdict == "" {
		t.Fatalf("%q is no total: %v", text, err)
	}
	minute := 0
	for _, word := range words[3:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "route":
			out.Route = value
		case "line":
			out.Statement, out.Field, _ = strings.Cut(value, ":")
		case "reason":
			out.Reason = value
		case "last":
			if _, err := fmt.Sscan(value, &minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.Last = noon.Add(time.Duration(minute) * time.Minute)
	return out
}

// shown is a row as text.
func shown(r hits.Row) string {
	words := []string{fmt.Sprint(r.Num)}
	for _, text := range []string{r.Name, r.Application, r.Route, r.Statement, r.Field, r.Reason} {
		if text != "" {
			words = append(words, text)
		}
	}
	words = append(words, fmt.Sprintf("%d/%d/%d/%d", r.Allowed, r.Denied, r.WouldDeny, r.Failed))
	if !r.Last.IsZero() {
		words = append(words, fmt.Sprint(int(r.Last.Sub(noon).Minutes())))
	}
	return strings.Join(words, " ")
}

func TestSumsByLayer(t *testing.T) {
	app := func(name string) hits.Line { return hits.Line{Namespace: "shop", Application: name} }
	owners := func(statement, field string) []string {
		switch statement + ":" + field {
		case "Policy/a:callers":
			return []string{"pci", "gdpr", "pci"}
		case "Policy/b:token":
			return []string{"gdpr"}
		}
		return nil
	}
	for _, c := range []struct {
		name   string
		layer  hits.Layer
		totals []string
		lines  []hits.Line
		want   []string
	}{
		{"nothing", hits.Applications, nil, nil, nil},
		{"a line that nothing hit has zeros", hits.Applications, nil, []hits.Line{app("web")}, []string{"1 web 0/0/0/0"}},
		{"each verdict has its column", hits.Applications,
			[]string{"web@workload allowed 5 last=1", "web@workload denied 3 last=4", "web@workload would 2", "web@workload failed 1"}, nil,
			[]string{"1 web 5/3/2/1 4"}},
		{"a request through a gateway is allowed once", hits.Applications,
			[]string{"web@gateway allowed 5", "web@workload allowed 5"}, nil, []string{"1 web 5/0/0/0 0"}},
		{"so it is where the workload refuses it", hits.Applications,
			[]string{"web@gateway allowed 5", "web@workload denied 5"}, nil, []string{"1 web 0/5/0/0 0"}},
		{"and denied at whichever refused it", hits.Applications,
			[]string{"web@gateway denied 2", "web@gateway allowed 5", "web@workload denied 1", "web@workload allowed 4"}, nil, []string{"1 web 4/3/0/0 0"}},
		{"the gateway counts alone where the workload has no proxy", hits.Applications,
			[]string{"web@gateway allowed 5", "web@gateway denied 1", "old@workload allowed 7"}, nil, []string{"1 old 7/0/0/0 0", "2 web 5/1/0/0 0"}},
		{"which is looked at for each application of a row", hits.Policies,
			[]string{"web@gateway allowed 5 line=Policy/b:token", "old@workload allowed 7 line=Policy/b:token", "old@gateway allowed 6 line=Policy/b:token"}, nil,
			[]string{"1 gdpr 12/0/0/0 0"}},
		{"lines come as they are given, then the others", hits.Applications,
			[]string{"a@workload allowed 1", "b@workload allowed 2", "c@workload allowed 3"}, []hits.Line{app("z"), app("b"), app("z")},
			[]string{"1 z 0/0/0/0", "2 b 2/0/0/0 0", "3 a 1/0/0/0 0", "4 c 3/0/0/0 0"}},
		{"routes", hits.Routes,
			[]string{"web@workload allowed 1 route=cart", "web@workload allowed 2 route=pay last=2", "web@workload denied 4"}, nil,
			[]string{"1 web 0/4/0/0 0", "2 web cart 1/0/0/0 0", "3 web pay 2/0/0/0 2"}},
		{"rules, of each proxy that has them", hits.Rules,
			[]string{"web@gateway allowed 9 line=Application/web:token", "web@workload allowed 9 line=Application/web:callers", "web@workload denied 2 reason=Default"}, nil,
			[]string{"1 Default 0/2/0/0 0", "2 Application/web callers 9/0/0/0 0", "3 Application/web token 9/0/0/0 0"}},
		{"a statement of several goals counts for each", hits.Goals,
			[]string{"web@workload denied 3 line=Policy/a:callers", "web@workload denied 1 line=Policy/b:token", "web@workload denied 8 reason=Default", "web@workload denied 8 line=Policy/c:x"}, nil,
			[]string{"1 gdpr 0/4/0/0 0", "2 pci 0/3/0/0 0"}},
		{"what was dropped is shown in every layer", hits.Goals,
			[]string{"@workload denied 3 reason=Dropped"}, []hits.Line{{Name: "pci"}}, []string{"1 pci 0/0/0/0", "2 Dropped 0/3/0/0 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var totals []hits.Total
			for _, text := range c.totals {
				totals = append(totals, total(t, text))
			}
			var got []string
			for _, row := range hits.By(c.layer, totals, c.lines, owners) {
				got = append(got, shown(row))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("rows are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestGoalsWithoutOwnersHaveOnlyTheirLines(t *testing.T) {
	got := hits.By(hits.Goals, []hits.Total{total(t, "web@workload denied 3 line=Policy/a:callers")}, []hits.Line{{Name: "pci"}}, nil)
	if len(got) != 1 || got[0].Denied != 0 {
		t.Errorf("rows are %+v, want that of pci with zeros", got)
	}
}
