// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// reference writes a page about definitions, one section for each kind with a
// table of its fields.
func reference(definitions []*apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	b.WriteString("# API reference: trellis.dev/v1alpha1\n\n")
	b.WriteString("<!-- Written by `go test ./test/docs -run Reference -update` from config/crd. Do not edit. -->\n\n")
	b.WriteString("An absent field means what its text says: nothing is written into a spec. A field that is not here is refused.\n")
	for _, d := range definitions {
		names := d.Spec.Names
		fmt.Fprintf(&b, "\n## %s\n\n", names.Kind)
		if len(names.ShortNames) > 0 {
			fmt.Fprintf(&b, "`kubectl get %s`, %s.\n\n", names.ShortNames[0], strings.ToLower(string(d.Spec.Scope)))
		} else {
			fmt.Fprintf(&b, "`kubectl get %s`, %s.\n\n", names.Plural, strings.ToLower(string(d.Spec.Scope)))
		}
		root := d.Spec.Versions[0].Schema.OpenAPIV3Schema
		b.WriteString(sentence(root.Description) + "\n")
		rules(&b, root.XValidations)
		for _, part := range []string{"spec", "status"} {
			schema, ok := root.Properties[part]
			if !ok {
				continue
			}
			fmt.Fprintf(&b, "\n### %s %s\n\n%s\n", names.Kind, part, sentence(schema.Description))
			rules(&b, schema.XValidations)
			b.WriteString("\n| Field | Type | Meaning |\n| --- | --- | --- |\n")
			fields(&b, schema, "")
		}
	}
	return b.String()
}

// rules lists what the API server checks across fields.
func rules(b *strings.Builder, all apiextensionsv1.ValidationRules) {
	for _, rule := range all {
		fmt.Fprintf(b, "\n- Rule: %s.", rule.Message)
	}
	if len(all) > 0 {
		b.WriteString("\n")
	}
}

// fields writes one row for each field of an object, and below it those of the
// objects in it.
func fields(b *strings.Builder, object apiextensionsv1.JSONSchemaProps, prefix string) {
	for _, name := range slices.Sorted(maps.Keys(object.Properties)) {
		field := object.Properties[name]
		required := ""
		if slices.Contains(object.Required, name) {
			required = ", required"
		}
		fmt.Fprintf(b, "| `%s%s` | %s%s | %s |\n", prefix, name, typeOf(field), required, meaning(field))
		switch {
		case field.Items != nil && field.Items.Schema != nil:
			fields(b, *field.Items.Schema, prefix+name+"[].")
		default:
			fields(b, field, prefix+name+".")
		}
	}
}

// typeOf names a type with its bounds.
func typeOf(field apiextensionsv1.JSONSchemaProps) string {
	if field.Items != nil && field.Items.Schema != nil {
		text := "list of " + typeOf(*field.Items.Schema)
		if field.MaxItems != nil {
			text += fmt.Sprintf(", at most %d", *field.MaxItems)
		}
		return text
	}
	if len(field.Enum) > 0 {
		var values []string
		for _, value := range field.Enum {
			values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
		}
		return strings.Join(values, ", ")
	}
	switch {
	case field.Type == "object" && field.AdditionalProperties != nil:
		return "map"
	case field.Type == "string" && field.Format == "date-time":
		return "time"
	case field.Minimum != nil && field.Maximum != nil:
		return fmt.Sprintf("%s, %g to %g", field.Type, *field.Minimum, *field.Maximum)
	}
	return field.Type
}

// meaning is a field's text with the rules across its own fields.
func meaning(field apiextensionsv1.JSONSchemaProps) string {
	parts := []string{sentence(field.Description)}
	if field.Items != nil && field.Items.Schema != nil && field.Items.Schema.Description != "" && field.Items.Schema.Type == "object" {
		parts = append(parts, "Each: "+sentence(field.Items.Schema.Description))
		for _, rule := range field.Items.Schema.XValidations {
			parts = append(parts, "Rule: "+rule.Message+".")
		}
	}
	for _, rule := range field.XValidations {
		parts = append(parts, "Rule: "+rule.Message+".")
	}
	return strings.ReplaceAll(strings.TrimSpace(strings.Join(parts, " ")), "|", `\|`)
}

// sentence puts a wrapped text on one line that Markdown shows as it is.
func sentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "*", `\*`).Replace(text)
}
