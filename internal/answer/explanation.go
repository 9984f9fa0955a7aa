// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/explain"
)

// Explanation is an explanation as JSON and YAML have it. Fields are added and never
// change their meaning.
type Explanation struct {
	// Of says what the thing was taken for.
	Of string `json:"of"`
	// Means is what the thing itself says; Why and Do are what follows from the
	// statement behind it.
	Means string `json:"means,omitempty"`
	Why   string `json:"why,omitempty"`
	Do    string `json:"do,omitempty"`
	// Now is what would become of the request, where there is one.
	Now *Answer `json:"now,omitempty"`
	// Rules are those that it leads to, with the statement behind each.
	Rules []Rule `json:"rules,omitempty"`
	// Held are the proxies that have those rules.
	Held   []Held   `json:"held,omitempty"`
	Unread []string `json:"unread,omitempty"`
	// Variants are requests that differ in one thing, and pass.
	Variants []string `json:"variants,omitempty"`
	// Change are the places where it can be changed.
	Change []Place  `json:"change,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
	// Counted says what the hits of rules are of; absent where nobody asked for them.
	Counted *Counted `json:"counted,omitempty"`
	// Redacted says that something is left out which whoever asks may not read.
	Redacted bool `json:"redacted,omitempty"`
}

// Rule is a rule of an Istio object.
type Rule struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Rule counts from 0; -1 is the object as a whole.
	Rule      int        `json:"rule"`
	Statement *Statement `json:"statement,omitempty"`
	// Hits is how often it was hit; absent where that is not known.
	Hits *Hit `json:"hits,omitempty"`
}

// Held is a rule of a proxy.
type Held struct {
	Proxy string `json:"proxy"`
	Part  string `json:"part"`
	Rule  string `json:"rule"`
}

// ExplanationOf is the view of an explanation.
func ExplanationOf(w *ask.World, e *explain.Explanation) *Explanation {
	out := &Explanation{Of: e.Of, Means: e.Means, Why: e.Told.Why, Do: e.Told.Do, Unread: e.Unread, Variants: e.Variants, Notes: e.Notes, Change: PlacesOf(e.Change)}
	if e.Answer != nil {
		out.Now = Of(w, e.Request, e.Answer)
	}
	for _, m := range e.Rules {
		out.Rules = append(out.Rules, Rule{
			Kind: m.Object.Kind, Namespace: m.Object.Namespace, Name: m.Object.Name, Rule: m.Object.Rule, Statement: StatementOf(m.Origin),
		})
	}
	for _, h := range e.Held {
		out.Held = append(out.Held, Held(h))
	}
	return out
}
