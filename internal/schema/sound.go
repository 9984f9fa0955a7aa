// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"context"
	"math"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	apimachineryvalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

// sound reports whether it is sure that the API server would find nothing wrong with
// a value: of everything else, it says no, and the API server's own code has to tell.
// The value is not changed.
func (k *kind) sound(ctx context.Context, value map[string]any) bool {
	holder := holding{ctx: ctx, budget: celconfig.RuntimeCELCostBudget}
	if !holder.fits(k.shape(), value) {
		return false
	}
	meta, ok, unknown, err := objectmeta.GetObjectMetaWithOptions(value, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil || !ok || meta == nil || len(unknown) > 0 {
		return false
	}
	return len(apimachineryvalidation.ValidateObjectMeta(meta, k.namespaced, apimachineryvalidation.NameIsDNSSubdomain, field.NewPath("metadata"))) == 0 &&
		len(listtype.ValidateListSetsAndMaps(nil, k.structural, value)) == 0
}

// holding is one value that is held against its shape.
type holding struct {
	ctx context.Context
	// budget is what is left of what all rules together may cost.
	budget uint64
}

// fits reports whether a value is sure to be what its shape says.
func (h *holding) fits(s *shape, value any) bool {
	return !s.opaque && h.is(s, value) && h.holds(s, value)
}

func (h *holding) is(s *shape, value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return s.kind == "object" && h.fitsObject(s, v)
	case []any:
		return s.kind == "array" && h.fitsList(s, v)
	case string:
		return s.kind == "string" && s.fitsText(v)
	case int64:
		return s.kind == "integer" && s.fitsNumber(v)
	case bool:
		return s.kind == "boolean"
	}
	return false
}

func (h *holding) fitsObject(s *shape, value map[string]any) bool {
	if !within(int64(len(value)), s.limits.MinProperties, s.limits.MaxProperties) {
		return false
	}
	for _, name := range s.required {
		if _, ok := value[name]; !ok {
			return false
		}
	}
	for name, one := range value {
		property := s.properties[name]
		if property == nil {
			property = s.values
		}
		if !s.open && (property == nil || !h.fits(property, one)) {
			return false
		}
	}
	return true
}

func (h *holding) fitsList(s *shape, value []any) bool {
	if s.items == nil || !within(int64(len(value)), s.limits.MinItems, s.limits.MaxItems) {
		return false
	}
	for _, one := range value {
		if !h.fits(s.items, one) {
			return false
		}
	}
	return true
}

func (s *shape) fitsText(value string) bool {
	return within(int64(utf8.RuneCountInString(value)), s.limits.MinLength, s.limits.MaxLength) &&
		(s.pattern == nil || s.pattern.MatchString(value)) && (s.enum == nil || s.enum[value])
}

func (s *shape) fitsNumber(value int64) bool {
	if s.limits.Format == "int32" && (value < math.MinInt32 || value > math.MaxInt32) {
		return false
	}
	return (s.limits.Minimum == nil || value >= int64(*s.limits.Minimum)) && (s.limits.Maximum == nil || value <= int64(*s.limits.Maximum))
}

func within(n int64, least, most *int64) bool {
	return (least == nil || n >= *least) && (most == nil || n <= *most)
}

// holds reports whether all rules of a place are true, at no more than they may cost.
func (h *holding) holds(s *shape, value any) bool {
	if len(s.rules) == 0 {
		return true
	}
	self := itself{common.UnstructuredToVal(value, s.seen)}
	for _, rule := range s.rules {
		result, details, err := rule.ContextEval(h.ctx, self)
		if err != nil || result != types.True || !h.pay(details) {
			return false
		}
	}
	return true
}

func (h *holding) pay(details *cel.EvalDetails) bool {
	if details == nil {
		return false
	}
	cost := details.ActualCost()
	if cost == nil || *cost >= h.budget {
		return false
	}
	h.budget -= *cost
	return true
}

// itself is what a rule calls self; there is nothing else that it can name.
type itself struct{ value ref.Val }

// ResolveName implements cel.Activation.
func (i itself) ResolveName(name string) (any, bool) { return i.value, name == "self" }

// Parent implements cel.Activation.
func (i itself) Parent() cel.Activation { return nil }
