// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package expression

import (
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiserver/pkg/cel/common"
)

// schema is what Kubernetes makes of a structural schema, with its parts made once:
// Kubernetes copies all properties of an object whenever one of its fields is read.
type schema struct {
	*model.Structural
	items      common.Schema
	properties map[string]common.Schema
	additional common.SchemaOrBool
}

func newSchema(of *structuralschema.Structural) *schema {
	out := &schema{Structural: &model.Structural{Structural: of}}
	if of.Items != nil {
		out.items = newSchema(of.Items)
	}
	if of.Properties != nil {
		out.properties = make(map[string]common.Schema, len(of.Properties))
	}
	for name, property := range of.Properties {
		out.properties[name] = newSchema(&property)
	}
	if of.AdditionalProperties != nil {
		out.additional = newAdditional(of.AdditionalProperties)
	}
	return out
}

func (s *schema) Items() common.Schema                      { return s.items }
func (s *schema) Properties() map[string]common.Schema      { return s.properties }
func (s *schema) AdditionalProperties() common.SchemaOrBool { return s.additional }

// additional is the same for the values of a map.
type additional struct {
	*model.StructuralOrBool
	schema common.Schema
}

func newAdditional(of *structuralschema.StructuralOrBool) *additional {
	out := &additional{StructuralOrBool: &model.StructuralOrBool{StructuralOrBool: of}}
	if of.Structural != nil {
		out.schema = newSchema(of.Structural)
	}
	return out
}

func (a *additional) Schema() common.Schema { return a.schema }
