// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
)

// place is where something was stated: an origin, or a field below it.
type place struct {
	origin *model.Origin
	below  string
}

func at(o *model.Origin) place { return place{origin: o} }

func below(o *model.Origin, field string) place { return place{o, field} }

func (p place) field() string {
	switch {
	case p.below == "":
		return p.origin.Field
	case p.origin.Field == "":
		return p.below
	default:
		return p.origin.Field + "." + p.below
	}
}

// stamp is the origin and reason of one generated rule.
type stamp struct {
	place  place
	reason Reason
}

// Provenance is what the annotation trellis.dev/origin holds: for each rule of
// an object, in order, who stated it and why it is there. Strings that repeat
// are held once.
type Provenance struct {
	// Objects, Fields and Sources are looked up by the numbers in Rules.
	Objects []string `json:"objects,omitempty"`
	Fields  []string `json:"fields,omitempty"`
	Sources []string `json:"sources,omitempty"`
	// Rules are [object, field, source, layer, reason]; source is -1 when
	// unknown.
	Rules []ProvenanceRule `json:"rules,omitempty"`
	// ConfigMap names where the provenance is, when it is too large for an
	// annotation; then everything else is empty.
	ConfigMap string `json:"configMap,omitempty"`
}

// ProvenanceRule is one rule's origin.
type ProvenanceRule struct {
	Object, Field, Source int
	Layer                 model.Layer
	Reason                Reason
}

// MarshalJSON writes the rule as a short list.
func (p ProvenanceRule) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Object, p.Field, p.Source, p.Layer, p.Reason})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *ProvenanceRule) UnmarshalJSON(data []byte) error {
	list := []any{&p.Object, &p.Field, &p.Source, &p.Layer, &p.Reason}
	want := len(list)
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("reading the origin of a rule, %w", err)
	}
	if len(list) != want {
		return fmt.Errorf("reading the origin of a rule, want %d elements and have %d", want, len(list))
	}
	return nil
}

// provenance interns the stamps of an object's rules.
func provenance(stamps []stamp) Provenance {
	p := Provenance{Rules: make([]ProvenanceRule, 0, len(stamps))}
	var objects, fields, sources interner
	var last model.Reference
	object := -1
	for _, s := range stamps {
		o := s.place.origin
		if object < 0 || o.Object != last {
			last, object = o.Object, objects.number(o.Object.String())
		}
		rule := ProvenanceRule{Object: object, Field: fields.number(s.place.field()), Source: -1, Layer: o.Layer, Reason: s.reason}
		if o.Source != "" {
			rule.Source = sources.number(o.Source)
		}
		p.Rules = append(p.Rules, rule)
	}
	p.Objects, p.Fields, p.Sources = objects.list, fields.list, sources.list
	return p
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

// text is the provenance as JSON, what json.Marshal would write. There is one
// for every object, and reflection would take a quarter of a compilation.
func (p Provenance) text() ([]byte, error) {
	head, err := json.Marshal(Provenance{Objects: p.Objects, Fields: p.Fields, Sources: p.Sources, ConfigMap: p.ConfigMap})
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
		out = append(strconv.AppendQuote(out, string(r.Reason)), ']')
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

// maxAnnotation is the size above which provenance moves to a ConfigMap: half
// of what Kubernetes takes for all annotations of an object together.
const maxAnnotation = 128 << 10

// object finishes a generated object: labels, provenance, and a ConfigMap for
// the provenance where it is too large.
func (b *builder) object(value Resource, kind, group string, owners []model.Reference, stamps []stamp) {
	value.SetLabels(b.ownerLabels(owners))
	text, err := provenance(stamps).text()
	if err != nil {
		b.broken = append(b.broken, fmt.Errorf("encoding the origin of %s %s/%s, %w", kind, value.GetNamespace(), value.GetName(), err))
		return
	}
	if len(text) > maxAnnotation {
		name := shorten("trellis-origin-" + lower(kind) + "-" + value.GetName())
		b.add(&corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Namespace: value.GetNamespace(), Name: name, Labels: b.ownerLabels(owners)},
			Data:       map[string]string{"origin": string(text)},
		}, "ConfigMap", "", owners)
		text, _ = json.Marshal(Provenance{ConfigMap: name})
	}
	annotations := map[string]string{AnnotationOrigin: string(text)}
	maps.Copy(annotations, value.GetAnnotations())
	value.SetAnnotations(annotations)
	b.add(value, kind, group, owners)
}

// ownerLabels are shared by all objects of one owner.
func (b *builder) ownerLabels(owners []model.Reference) map[string]string {
	var first model.Reference
	if len(owners) > 0 {
		first = owners[0]
	}
	if labels := b.labels[first]; labels != nil {
		return labels
	}
	labels := map[string]string{LabelManagedBy: ManagedBy}
	if len(owners) > 0 {
		labels[LabelOwnerKind] = first.Kind
		labels[LabelOwnerNamespace] = first.Namespace
		labels[LabelOwnerName] = first.Name
	}
	b.labels[first] = labels
	return labels
}
