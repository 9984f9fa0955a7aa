// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package answer is what is said to questions, as JSON and YAML have it: one type and
// one constructor for the command line and for the server. Fields are a promise: they
// are added and never change their meaning. It decides nothing.
package answer

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/tell"
	"github.com/trellis-mesh/trellis/internal/decide"
)

// Answer is what becomes of a request, as JSON and YAML have it. Fields are added
// and never change their meaning.
type Answer struct {
	Request Request `json:"request"`
	// Outcome is Allow, Deny, Answered, NoRoute, Fails or Unknown.
	Outcome string `json:"outcome"`
	// Code is the HTTP status that a proxy answers with; absent where none does.
	Code int `json:"code,omitempty"`
	// Details and Flags are as Envoy writes them into its access log.
	Details string   `json:"details,omitempty"`
	Flags   []string `json:"flags,omitempty"`
	// Why is one sentence; Do says what to do about it.
	Why string `json:"why"`
	Do  string `json:"do,omitempty"`
	// Entrance is the Service of the gateway that it came in by.
	Entrance string `json:"entrance,omitempty"`
	// Reached is what answers.
	Reached *Reached `json:"reached,omitempty"`
	// Decided is the statement that it hangs on.
	Decided *Statement `json:"decided,omitempty"`
	// Change are the places where another outcome would be stated.
	Change []Place `json:"change,omitempty"`
	// Steps are what happened, in order.
	Steps []Step `json:"steps"`
	// Branches are the ends that chance decides between; absent where there is one.
	Branches []Branch `json:"branches,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Request is what was asked.
type Request struct {
	// From is "internet" or NAMESPACE/NAME.
	From   string `json:"from"`
	Method string `json:"method,omitempty"`
	URL    string `json:"url"`
}

// Reached is what answers a request.
type Reached struct {
	// Workload is NAMESPACE/NAME of the pod; absent outside of the mesh.
	Workload string `json:"workload,omitempty"`
	Host     string `json:"host,omitempty"`
	Address  string `json:"address,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
}

// Statement is a place of an object that somebody wrote.
type Statement struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	// Source is FILE:LINE, or what the annotation trellis.dev/source says.
	Source string `json:"source,omitempty"`
	Layer  string `json:"layer,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Goals are those that the statement serves, by name and title.
	Goals string `json:"goals,omitempty"`
}

// Place is a statement with whose it is.
type Place struct {
	Statement
	Whom string `json:"whom"`
	// Editable says whether whoever asked may change the object in the cluster; absent
	// where no cluster was asked.
	Editable *bool `json:"editable,omitempty"`
}

// Step is one thing that happened to a request.
type Step struct {
	Proxy string `json:"proxy,omitempty"`
	Stage string `json:"stage"`
	// Rule is Envoy's name of what decided.
	Rule string `json:"rule,omitempty"`
	// Object is the Istio object that the rule was made from.
	Object    string     `json:"object,omitempty"`
	Says      string     `json:"says"`
	Stops     bool       `json:"stops,omitempty"`
	Statement *Statement `json:"statement,omitempty"`
}

// Branch is one of several ends.
type Branch struct {
	// Share is above 0 and below 1.
	Share   float64  `json:"share"`
	Outcome string   `json:"outcome"`
	Code    int      `json:"code,omitempty"`
	Why     string   `json:"why,omitempty"`
	Reached *Reached `json:"reached,omitempty"`
	Steps   []Step   `json:"steps"`
}

// Of is the view of an answer.
func Of(w *ask.World, r *ask.Request, a *ask.Answer) *Answer {
	told := tell.Tell(w, r, a)
	out := &Answer{
		Request: RequestOf(r), Outcome: string(a.Outcome), Why: told.Why, Do: told.Do, Reached: reachedOf(a.Reached),
		Decided: StatementOf(told.Decided), Change: PlacesOf(told.Change), Steps: stepsOf(w, a.Steps),
	}
	if a.Reply != nil {
		out.Code, out.Details, out.Flags = a.Reply.Code, a.Reply.Details, a.Reply.Flags
	}
	if a.Entrance != nil {
		out.Entrance = a.Entrance.Name.Namespace + "/" + a.Entrance.Name.Name
	}
	for _, b := range a.Branches {
		branch := Branch{
			Share: b.Share, Outcome: string(b.Verdict.Outcome), Why: b.Verdict.Why,
			Reached: reachedOf(b.Verdict.Reached), Steps: stepsOf(w, b.Verdict.Steps),
		}
		if b.Verdict.Reply != nil {
			branch.Code = b.Verdict.Reply.Code
		}
		out.Branches = append(out.Branches, branch)
	}
	return out
}

// RequestOf is the view of a request.
func RequestOf(r *ask.Request) Request {
	out := Request{From: "internet", URL: r.URL.String()}
	if r.URL.Scheme != "tcp" {
		out.Method = cmp.Or(r.Method, "GET")
	}
	switch {
	case r.From != nil:
		out.From = r.From.String()
	case r.Address.IsValid():
		out.From = r.Address.String()
	}
	return out
}

// StatementOf is the view of a statement; nil stays nil.
func StatementOf(o *ask.Origin) *Statement {
	if o == nil {
		return nil
	}
	return &Statement{Object: o.Object, Field: o.Field, Source: o.Source, Layer: string(o.Layer), Reason: string(o.Reason), Goals: o.Goals}
}

// PlacesOf is the view of places.
func PlacesOf(places []tell.Place) []Place {
	var out []Place
	for i := range places {
		out = append(out, Place{Statement: *StatementOf(&places[i].Origin), Whom: places[i].Whom})
	}
	return out
}

func stepsOf(w *ask.World, steps []decide.Step) []Step {
	out := make([]Step, 0, len(steps))
	for _, s := range steps {
		one := Step{Proxy: s.Proxy, Stage: string(s.Stage), Rule: s.Rule, Says: s.Says, Stops: s.Stops, Statement: StatementOf(w.Origins.Of(s))}
		if s.Object != nil {
			one.Object = s.Object.String()
		}
		out = append(out, one)
	}
	return out
}

func reachedOf(d *decide.Destination) *Reached {
	if d == nil {
		return nil
	}
	out := &Reached{Host: d.Host, Cluster: d.Cluster}
	if d.Workload != nil {
		out.Workload = d.Workload.Namespace + "/" + d.Workload.Name
	}
	if d.Address.IsValid() {
		out.Address = d.Address.String()
	}
	return out
}

// String is how a statement is written in a line: object, field and source.
func (s *Statement) String() string {
	out := s.Object
	if s.Field != "" {
		out += " " + s.Field
	}
	if s.Source != "" {
		out += fmt.Sprintf(" (%s)", s.Source)
	}
	if s.Goals != "" {
		out += ", for the goal " + s.Goals
	}
	return strings.TrimSpace(out)
}
