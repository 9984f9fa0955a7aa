// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"math"
	"regexp"

	"github.com/google/cel-go/cel"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	celschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
)

// shape is a definition in a form that is fast to hold a value against. The API
// server's code makes a validator for every field of every object, and copies the
// definitions of all fields for each that a rule looks at.
type shape struct {
	// opaque says something that is left to the API server's code.
	opaque bool
	// open takes all fields.
	open bool

	kind       string
	required   []string
	properties map[string]*shape
	// values are those of a map.
	values  *shape
	items   *shape
	limits  *structuralschema.ValueValidation
	pattern *regexp.Regexp
	enum    map[string]bool

	rules []cel.Program
	// seen is what rules see of the definition.
	seen common.Schema
}

// newShape is that of a whole object.
func newShape(s *structuralschema.Structural) *shape {
	out := shapeOf(s, model.SchemaDeclType(s, true))
	metadata := out.properties["metadata"]
	if metadata == nil {
		return &shape{opaque: true}
	}
	// Its fields are looked at elsewhere.
	metadata.open = true
	metadata.opaque = metadata.opaque || len(metadata.properties)+len(metadata.rules) > 0
	if len(out.rules) > 0 {
		out.seen = viewOf(model.WithTypeAndObjectMeta(s))
	}
	return out
}

func shapeOf(s *structuralschema.Structural, declared *apiservercel.DeclType) *shape {
	out := &shape{kind: s.Type, limits: s.ValueValidation, properties: map[string]*shape{}}
	if out.limits == nil {
		out.limits = &structuralschema.ValueValidation{}
	}
	out.required = out.limits.Required
	out.opaque = s.XEmbeddedResource || s.XIntOrString || s.XPreserveUnknownFields || !out.restrict()
	out.compile(s, declared)
	for name := range s.Properties {
		property := s.Properties[name]
		out.properties[name] = shapeOf(&property, fieldOf(declared, name))
	}
	var element *apiservercel.DeclType
	if declared != nil {
		element = declared.ElemType
	}
	if s.Items != nil {
		out.items = shapeOf(s.Items, element)
	}
	if a := s.AdditionalProperties; a != nil {
		out.opaque = out.opaque || a.Structural == nil || len(s.Properties) > 0
		if a.Structural != nil {
			out.values = shapeOf(a.Structural, element)
		}
	}
	return out
}

func fieldOf(declared *apiservercel.DeclType, name string) *apiservercel.DeclType {
	if declared == nil {
		return nil
	}
	escaped, ok := apiservercel.Escape(name)
	if !ok {
		return nil
	}
	if field := declared.Fields[escaped]; field != nil {
		return field.Type
	}
	return nil
}

// restrict takes what is asked of a single value, and reports whether all of it is
// understood.
func (s *shape) restrict() bool {
	v := s.limits
	if len(v.AllOf)+len(v.AnyOf)+len(v.OneOf) > 0 || v.Not != nil || v.MultipleOf != nil || v.ExclusiveMinimum || v.ExclusiveMaximum {
		return false
	}
	return whole(v.Minimum) && whole(v.Maximum) && s.restrictText() &&
		(v.Format == "" || s.kind == "integer" && (v.Format == "int32" || v.Format == "int64"))
}

func whole(bound *float64) bool {
	return bound == nil || *bound == math.Trunc(*bound) && math.Abs(*bound) <= math.MaxInt32
}

func (s *shape) restrictText() bool {
	if s.limits.Pattern != "" {
		var err error
		if s.pattern, err = regexp.Compile(s.limits.Pattern); err != nil || s.kind != "string" {
			return false
		}
	}
	if len(s.limits.Enum) == 0 {
		return true
	}
	s.enum = map[string]bool{}
	for _, one := range s.limits.Enum {
		text, ok := one.Object.(string)
		if !ok || s.kind != "string" {
			return false
		}
		s.enum[text] = true
	}
	return true
}

// compile has the rules of one place compiled as the API server does it.
func (s *shape) compile(of *structuralschema.Structural, declared *apiservercel.DeclType) {
	if len(of.XValidations) == 0 {
		return
	}
	compiled, err := celschema.Compile(of, declared, celconfig.PerCallLimit,
		environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), celschema.StoredExpressionsEnvLoader())
	s.opaque = s.opaque || err != nil
	for i, rule := range compiled {
		switch {
		case rule.Error != nil || rule.Program == nil || of.XValidations[i].OptionalOldSelf != nil:
			s.opaque = true
		case !rule.UsesOldSelf:
			// The others compare an object with what it was.
			s.rules = append(s.rules, rule.Program)
		}
	}
	s.seen = viewOf(of)
}

// view is a definition that is made ready for rules once.
type view struct {
	*model.Structural
	items      common.Schema
	properties map[string]common.Schema
	values     common.SchemaOrBool
}

// Items implements common.Schema.
func (v *view) Items() common.Schema { return v.items }

// Properties implements common.Schema.
func (v *view) Properties() map[string]common.Schema { return v.properties }

// AdditionalProperties implements common.Schema.
func (v *view) AdditionalProperties() common.SchemaOrBool { return v.values }

// viewOf keeps the interfaces nil that are nil of the definition itself.
func viewOf(s *structuralschema.Structural) *view {
	out := &view{Structural: &model.Structural{Structural: s}}
	if s.Items != nil {
		out.items = viewOf(s.Items)
	}
	if s.Properties != nil {
		out.properties = make(map[string]common.Schema, len(s.Properties))
		for name := range s.Properties {
			property := s.Properties[name]
			out.properties[name] = viewOf(&property)
		}
	}
	if a := s.AdditionalProperties; a != nil {
		values := &viewOrBool{StructuralOrBool: &model.StructuralOrBool{StructuralOrBool: a}}
		if a.Structural != nil {
			values.view = viewOf(a.Structural)
		}
		out.values = values
	}
	return out
}

type viewOrBool struct {
	*model.StructuralOrBool
	view common.Schema
}

// Schema implements common.SchemaOrBool.
func (v *viewOrBool) Schema() common.Schema { return v.view }
