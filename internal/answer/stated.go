// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Stated is what counts are summed by. Of what is nil there are no lines with zeros.
type Stated struct {
	Index        *attribution.Index
	Applications []*v1alpha1.Application
	Policies     *policy.Set
}

// Rows sum totals by a layer, in the lines that are given and those that were hit beside
// them.
func (s *Stated) Rows(by hits.Layer, totals []hits.Total, lines []hits.Line) []HitRow {
	owners := HitOwners(by, s.bound())
	var since map[hits.Line]time.Time
	var refusing map[hits.Line]bool
	if s.Index != nil {
		rules := s.Index.InForce()
		since, refusing = hits.Since(by, rules, owners), hits.Refusing(rules)
	}
	counted := totals
	if by == hits.Exceptions {
		counted = s.exempt(totals)
	}
	return hitRows(by, hits.By(by, counted, lines, owners), totals, since, refusing)
}

// Lines are all that could be hit, so that what nobody did is there too.
func (s *Stated) Lines(by hits.Layer) []hits.Line {
	var out []hits.Line
	switch by {
	case hits.Rules:
		if s.Index != nil {
			return s.Index.Lines()
		}
	case hits.Applications:
		for _, a := range s.Applications {
			out = append(out, hits.Line{Namespace: a.Namespace, Application: a.Name})
		}
	case hits.Routes:
		for _, a := range s.Applications {
			for i := range a.Spec.Routes {
				out = append(out, hits.Line{Namespace: a.Namespace, Application: a.Name, Route: string(a.Spec.Routes[i].Name)})
			}
		}
	case hits.Policies, hits.Goals:
		for _, b := range s.bound() {
			for _, name := range namesOf(by, b) {
				out = append(out, hits.Line{Name: name})
			}
		}
	case hits.Exceptions:
		for _, e := range s.exceptions() {
			out = append(out, hits.Line{Name: e.Ref.String()})
		}
	}
	return out
}

func (s *Stated) bound() []*policy.Binding {
	if s.Policies == nil {
		return nil
	}
	return s.Policies.Bindings
}

func (s *Stated) exceptions() []*policy.Exception {
	if s.Policies == nil {
		return nil
	}
	return s.Policies.Exceptions
}

// exempt are the totals of what exceptions let go, each stated by its exception. What is let
// go is what was asked of the policy: a caller, an exposure, a route, or an Application with
// all of its requests.
func (s *Stated) exempt(totals []hits.Total) []hits.Total {
	routes := map[string][3]string{}
	for _, a := range s.Applications {
		name := "Application " + a.Namespace + "/" + a.Name
		for i := range a.Spec.Routes {
			routes[fmt.Sprintf("%s spec.routes[%d]", name, i)] = [3]string{a.Namespace, a.Name, string(a.Spec.Routes[i].Name)}
		}
	}
	var out []hits.Total
	for _, e := range s.exceptions() {
		for _, t := range totals {
			if slices.ContainsFunc(e.Exempts, func(what string) bool {
				route, is := routes[what]
				return is && route == [3]string{t.Namespace, t.Application, t.Route} || within(&t.Key, what)
			}) {
				t.Statement, t.Field = e.Ref.String(), ""
				out = append(out, t)
			}
		}
	}
	return out
}

// within reports whether a key is stated by something, or is of it as a whole: "Application
// shop/web", or "Application shop/web spec.access.callers[0]".
func within(k *hits.Key, what string) bool {
	kind, rest, _ := strings.Cut(what, " ")
	name, field, _ := strings.Cut(rest, " ")
	if field == "" {
		return k.Statement == what || kind == "Application" && k.Application != "" && k.Namespace+"/"+k.Application == name
	}
	below, ok := strings.CutPrefix(k.Field, field)
	return ok && k.Statement == kind+" "+name && (below == "" || below[0] == '.' || below[0] == '[')
}

// HitOwners names the policies or goals that a statement is written for. A rule of a policy is
// stated by its binding. An exception is its own.
func HitOwners(by hits.Layer, bound []*policy.Binding) hits.Owners {
	if by == hits.Exceptions {
		return func(statement, _ string) []string { return []string{statement} }
	}
	of := map[string][]string{}
	for _, b := range bound {
		of[b.Ref.String()] = namesOf(by, b)
	}
	return func(statement, _ string) []string { return of[statement] }
}

// namesOf is the binding, or the goals that it serves.
func namesOf(by hits.Layer, b *policy.Binding) []string {
	if by == hits.Policies {
		return []string{b.Ref.String()}
	}
	var out []string
	for _, g := range b.Goals {
		out = append(out, g.Name)
	}
	return out
}
