// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apimachineryvalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/trellis-mesh/trellis/internal/model"
)

// unreadable begins the message about metadata of the wrong type.
const unreadable = "the metadata cannot be read: "

// validate does what the API server does on create. It changes the value.
func (k *kind) validate(ctx context.Context, value map[string]any) []model.Finding {
	if k.sound(ctx, value) {
		delete(value, "status")
		return nil
	}
	return k.inFull(ctx, value)
}

// inFull goes through what the API server does on create with strict field
// validation, in its order: unknown fields, null fields, status dropped, then
// metadata, schema, list keys and, when nothing blocks them, CEL rules. It
// changes the value.
func (k *kind) inFull(ctx context.Context, value map[string]any) []model.Finding {
	errs := shorten(nil, value, k.structural)
	unknown, problem := k.unknownFields(value)
	if problem != nil {
		errs = append(errs, problem)
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(value, k.structural)
	delete(value, "status")
	if meta, _, err := objectmeta.GetObjectMeta(value, true); err == nil && meta != nil {
		errs = append(errs, apimachineryvalidation.ValidateObjectMeta(meta, k.namespaced, apimachineryvalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	}
	errs = append(errs, validation.ValidateCustomResource(nil, value, k.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, value)...)
	if rules := k.rules(); rules != nil && !blocking(errs) {
		broken, _ := rules.Validate(ctx, nil, k.structural, value, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	return k.explain(value, unknown, errs)
}

// shorten cuts every list down to what its schema takes and says which were too
// long, before anything else looks at them: checking the keys of a list against
// each other takes time that grows with the square of its length.
func shorten(path *field.Path, value any, s *structuralschema.Structural) field.ErrorList {
	var errs field.ErrorList
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			property := s.Properties[name]
			child, ok := v[name]
			if !ok {
				continue
			}
			at := path.Child(name)
			if list, ok := child.([]any); ok {
				limit := (&node{&property}).limit()
				if limit > 0 && int64(len(list)) > limit {
					errs = append(errs, field.TooMany(at, len(list), int(limit)))
					v[name] = list[:limit]
				}
			}
			errs = append(errs, shorten(at, v[name], &property)...)
		}
	case []any:
		if s.Items == nil {
			return nil
		}
		for i, item := range v {
			errs = append(errs, shorten(path.Index(i), item, s.Items)...)
		}
	}
	return errs
}

// unknownFields removes the fields that the schema does not know and returns
// their paths, those of metadata included.
func (k *kind) unknownFields(value map[string]any) ([]string, *field.Error) {
	track := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	unknown := pruning.PruneWithOptions(value, k.structural, true, track)
	_, _, inMetadata, err := objectmeta.GetObjectMetaWithOptions(value, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return unknown, field.Invalid(field.NewPath("metadata"), nil, unreadable+strings.TrimPrefix(err.Error(), "json: "))
	}
	return append(unknown, inMetadata...), nil
}

// blocking says whether errors keep CEL rules from being run, as the API server
// decides it: on such values the rules could fail for reasons of their own.
func blocking(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// decode makes the typed object. Kinds that are not Trellis's are read
// leniently: the cluster that they come from has judged them.
func (c *Checker) decode(gvk schema.GroupVersionKind, value map[string]any) (out runtime.Object, err error) {
	// Unmarshalers of other projects' types see strangers' input here.
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("decoding failed: %v", r)
		}
	}()
	typed, err := c.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, typed); err != nil {
		return nil, err
	}
	return typed, nil
}
