// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package provenance knows what a generated object says of itself: for each of its
// rules who stated it, where, and why the rule is there.
package provenance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Reason is why a generated rule exists: the one thing that it checks.
type Reason string

// The reasons. A denial names its rule, and the rule has exactly one of them.
const (
	ReasonNoToken  Reason = "NoToken"
	ReasonIssuer   Reason = "Issuer"
	ReasonAudience Reason = "Audience"
	ReasonScope    Reason = "Scope"
	ReasonClaim    Reason = "Claim"
	ReasonMethod   Reason = "Method"
	ReasonCaller   Reason = "Caller"
	ReasonPolicy   Reason = "Policy"
	// ReasonRoute and the following are those of rules that serve or allow.
	ReasonRoute   Reason = "Route"
	ReasonProbe   Reason = "Probe"
	ReasonPath    Reason = "Path"
	ReasonPlain   Reason = "PlainHTTP"
	ReasonTLS     Reason = "TLS"
	ReasonKeys    Reason = "Keys"
	ReasonPeerTLS Reason = "MutualTLS"
	ReasonCall    Reason = "Call"
)

// Provenance is what the annotation trellis.dev/origin holds: for each rule of
// an object, in order, who stated it and why it is there. Strings that repeat
// are held once.
type Provenance struct {
	// Objects, Fields and Sources are looked up by the numbers in Rules.
	Objects []string `json:"objects,omitempty"`
	Fields  []string `json:"fields,omitempty"`
	Sources []string `json:"sources,omitempty"`
	Goals   []string `json:"goals,omitempty"`
	// Rules are [object, field, source, layer, reason]; source is -1 when unknown. A rule
	// that serves goals has their number at the end.
	Rules []Rule `json:"rules,omitempty"`
	// ConfigMap names where the provenance is, when it is too large for an
	// annotation; then everything else is empty.
	ConfigMap string `json:"configMap,omitempty"`
}

// Rule is one rule's origin.
type Rule struct {
	Object, Field, Source int
	Layer                 model.Layer
	Reason                Reason
	// Goals counts from one; zero where it serves none.
	Goals int
}

// MarshalJSON writes the rule as a short list.
func (p Rule) MarshalJSON() ([]byte, error) {
	list := []any{p.Object, p.Field, p.Source, p.Layer, p.Reason}
	if p.Goals > 0 {
		list = append(list, p.Goals-1)
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Rule) UnmarshalJSON(data []byte) error {
	goals := -1
	list := []any{&p.Object, &p.Field, &p.Source, &p.Layer, &p.Reason, &goals}
	most := len(list)
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("reading the origin of a rule, %w", err)
	}
	if len(list) != most && len(list) != most-1 {
		return fmt.Errorf("reading the origin of a rule, want %d elements and have %d", most-1, len(list))
	}
	p.Goals = goals + 1
	return nil
}

// Add appends the origin and reason of the next rule. Field is the place below the
// origin's object.
func (x *Writer) Add(o *model.Origin, field string, reason Reason) {
	if !x.begun || o.Object != x.last {
		x.begun, x.last, x.object = true, o.Object, x.objects.number(o.Object.String())
	}
	rule := Rule{Object: x.object, Field: x.fields.number(field), Source: -1, Layer: o.Layer, Reason: reason}
	if o.Source != "" {
		rule.Source = x.sources.number(o.Source)
	}
	if o.Goals != "" {
		rule.Goals = x.goals.number(o.Goals) + 1
	}
	x.rules = append(x.rules, rule)
}

// Writer collects the rules of one object, and holds strings that repeat once. The
// zero value is empty.
type Writer struct {
	objects, fields, sources interner
	goals                    interner
	last                     model.Reference
	begun                    bool
	object                   int
	rules                    []Rule
}

// NewWriter expects so many rules.
func NewWriter(rules int) *Writer { return &Writer{rules: make([]Rule, 0, rules)} }

// Provenance is what was added.
func (x *Writer) Provenance() Provenance {
	return Provenance{Objects: x.objects.list, Fields: x.fields.list, Sources: x.sources.list, Goals: x.goals.list, Rules: x.rules}
}

// interner numbers strings in the order in which they come.
type interner struct {
	list  []string
	index map[string]int
}

func (x *interner) number(s string) int {
	// Most objects have few, and looking through them is cheaper than a map.
	const few = 16
	if x.index == nil {
		if i := slices.Index(x.list, s); i >= 0 {
			return i
		}
	} else if i, ok := x.index[s]; ok {
		return i
	}
	x.list = append(x.list, s)
	switch {
	case x.index != nil:
		x.index[s] = len(x.list) - 1
	case len(x.list) > few:
		x.index = make(map[string]int)
		for i, v := range x.list {
			x.index[v] = i
		}
	}
	return len(x.list) - 1
}

// Text is the provenance as JSON, what json.Marshal would write. There is one
// for every object, and reflection would take a quarter of a compilation.
func (p Provenance) Text() ([]byte, error) {
	head, err := json.Marshal(Provenance{Objects: p.Objects, Fields: p.Fields, Sources: p.Sources, Goals: p.Goals, ConfigMap: p.ConfigMap})
	if err != nil || len(p.Rules) == 0 {
		return head, err
	}
	out := make([]byte, 0, len(head)+len(p.Rules)*40)
	out = append(out, head[:len(head)-1]...)
	out = append(out, `,"rules":[`...)
	for i, r := range p.Rules {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '[')
		for _, n := range []int{r.Object, r.Field, r.Source} {
			out = append(strconv.AppendInt(out, int64(n), 10), ',')
		}
		out = append(strconv.AppendQuote(out, string(r.Layer)), ',')
		out = strconv.AppendQuote(out, string(r.Reason))
		if r.Goals > 0 {
			out = strconv.AppendInt(append(out, ','), int64(r.Goals-1), 10)
		}
		out = append(out, ']')
	}
	return append(out, "]}"...), nil
}

// Rule is the origin of rule i in words that a person can use, and its reason.
func (p Provenance) Rule(i int) (object, field string, reason Reason, ok bool) {
	if i < 0 || i >= len(p.Rules) {
		return "", "", "", false
	}
	r := p.Rules[i]
	if r.Object >= len(p.Objects) || r.Field >= len(p.Fields) || r.Object < 0 || r.Field < 0 {
		return "", "", "", false
	}
	return p.Objects[r.Object], p.Fields[r.Field], r.Reason, true
}
