// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Describe is the description of the API of a version of Trellis.
func Describe(version string) ([]byte, error) { return describe((&API{}).endpoints(), version) }

// describe is the description of the endpoints, OpenAPI 3.1, made from the Go types that
// they take and give. It is the same bytes for the same program.
func describe(endpoints []endpoint, version string) ([]byte, error) {
	s := schemas{defined: map[string]any{}, names: map[reflect.Type]string{}}
	paths := map[string]any{}
	refusal := map[string]any{"description": "Why there is no answer (RFC 9457)", "content": map[string]any{"application/problem+json": map[string]any{"schema": s.of(reflect.TypeFor[Problem]())}}}
	for i := range endpoints {
		e := &endpoints[i]
		parameters := []any{}
		for part := range strings.SplitSeq(e.path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				parameters = append(parameters, map[string]any{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
		}
		for _, p := range e.query {
			schema := map[string]any{"type": "string"}
			if p.among != nil {
				schema["enum"] = p.among
			}
			parameters = append(parameters, map[string]any{"name": p.name, "in": "query", "description": p.means, "schema": schema})
		}
		operation := map[string]any{
			"summary": e.summary, "parameters": parameters,
			"responses": map[string]any{
				"200":     map[string]any{"description": "The answer", "content": map[string]any{"application/json": map[string]any{"schema": s.of(reflect.TypeOf(e.gives))}}},
				"default": refusal,
			},
		}
		switch {
		case e.draft:
			operation["requestBody"] = map[string]any{"required": true, "description": fmt.Sprintf("YAML documents, at most %d bytes", MaxDraft), "content": map[string]any{"application/yaml": map[string]any{"schema": map[string]any{"type": "string"}}}}
		case e.takes != nil:
			operation["requestBody"] = map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": s.of(reflect.TypeOf(e.takes))}}}
		}
		paths[Prefix+e.path] = map[string]any{strings.ToLower(e.method): operation}
	}
	paths[Prefix+"events"] = map[string]any{"get": map[string]any{
		"summary": "Server-sent events: changed, with the revision as data, and counted",
		"responses": map[string]any{
			"200":     map[string]any{"description": "Events until the token is to be looked at anew", "content": map[string]any{"text/event-stream": map[string]any{"schema": map[string]any{"type": "string"}}}},
			"default": refusal,
		},
	}}
	out, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "trellis-server", "version": version,
			"description": "Questions about a mesh, answered with what whoever asks may read. Where something is left out, redacted is true. Fields are added and never change their meaning.",
		},
		"security":   []any{map[string]any{"token": []any{}}},
		"paths":      paths,
		"components": map[string]any{"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer", "description": "A token of the cluster"}}, "schemas": s.defined},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	return append(out, '\n'), nil
}

// schemas are JSON Schemas of Go types as encoding/json writes them.
type schemas struct {
	defined map[string]any
	names   map[reflect.Type]string
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	metaTime   = reflect.TypeFor[metav1.Time]()
	rawType    = reflect.TypeFor[json.RawMessage]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
	jsonWriter = reflect.TypeFor[json.Marshaler]()
)

// of is the schema of a type; that of a named struct is a reference.
func (s *schemas) of(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t == timeType || t == metaTime:
		return map[string]any{"type": "string", "format": "date-time"}
	case t == rawType:
		return map[string]any{}
	case t.Implements(textType):
		return map[string]any{"type": "string"}
	case t.Implements(jsonWriter):
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return map[string]any{"$ref": "#/components/schemas/" + s.name(t)}
	default:
		return map[string]any{}
	}
}

// name is that of a struct, which is defined when it is first met. Two packages may have
// types of one name.
func (s *schemas) name(t reflect.Type) string {
	if name, ok := s.names[t]; ok {
		return name
	}
	name := t.Name()
	if _, taken := s.defined[name]; taken {
		path := strings.Split(t.PkgPath(), "/")
		last := path[len(path)-1]
		name = strings.ToUpper(last[:1]) + last[1:] + name
	}
	s.names[t] = name
	definition := map[string]any{"type": "object"}
	s.defined[name] = definition // before its fields, which may be of the same type
	properties, required := map[string]any{}, []string{}
	s.fields(t, properties, &required)
	definition["properties"] = properties
	if len(required) > 0 {
		definition["required"] = required
	}
	return name
}

// fields adds those of a struct, and of what is embedded in it.
func (s *schemas) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && name == "" && inner.Kind() == reflect.Struct {
			s.fields(inner, properties, required)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		schema := s.of(f.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if nullable(f.Type) && !optional {
			schema = map[string]any{"anyOf": []any{schema, map[string]any{"type": "null"}}}
		}
		properties[name] = schema
		if !optional {
			*required = append(*required, name)
		}
	}
}

// nullable reports whether a value of the type may be written as null.
func nullable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}
