// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package parameter knows the types of the parameters of policies. It is pure.
package parameter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Default is what holds where nothing is said. A default that is wrong has
// broken its template.
func Default(p v1alpha1.PolicyParameter) any {
	if p.Default != nil {
		if v, err := Read(p, p.Default.Raw); err == nil {
			return v
		}
	}
	switch p.Type {
	case v1alpha1.ParameterStrings:
		return []any{}
	case v1alpha1.ParameterInteger:
		return int64(0)
	case v1alpha1.ParameterBoolean:
		return false
	case v1alpha1.ParameterDuration:
		return "0s"
	case v1alpha1.ParameterLabels:
		return map[string]any{}
	case v1alpha1.ParameterString:
	}
	return ""
}

// Read reads a value of the type of a parameter.
func Read(p v1alpha1.PolicyParameter, raw []byte) (any, error) {
	wrong := func(want string) error {
		return fmt.Errorf("parameter %s is %s, and this is %s", p.Name, want, shortened(raw))
	}
	// Go reads null as the empty value of any type. It is none of them.
	if string(bytes.TrimSpace(raw)) == "null" {
		return nil, wrong("a value of type " + string(p.Type))
	}
	switch p.Type {
	case v1alpha1.ParameterInteger:
		var n int64
		if json.Unmarshal(raw, &n) != nil {
			return nil, wrong("a whole number")
		}
		return n, nil
	case v1alpha1.ParameterBoolean:
		var b bool
		if json.Unmarshal(raw, &b) != nil {
			return nil, wrong("true or false")
		}
		return b, nil
	case v1alpha1.ParameterStrings:
		list, ok := listOfStrings(raw)
		if !ok {
			return nil, wrong("a list of strings")
		}
		return list, eachOneOf(p, list)
	case v1alpha1.ParameterLabels:
		m, ok := mapOfStrings(raw)
		if !ok {
			return nil, wrong("a map of strings")
		}
		return m, nil
	case v1alpha1.ParameterDuration:
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return nil, wrong("a duration such as 30s")
		}
		if _, err := time.ParseDuration(text); err != nil {
			return nil, wrong("a duration such as 30s")
		}
		return text, nil
	case v1alpha1.ParameterString:
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return nil, wrong("a string")
		}
		return text, oneOf(p, text)
	}
	return nil, fmt.Errorf("parameter %s has no type %q", p.Name, p.Type)
}

// listOfStrings and mapOfStrings take no null for a string.
func listOfStrings(raw []byte) ([]any, bool) {
	var list []*string
	if json.Unmarshal(raw, &list) != nil || slices.Contains(list, nil) {
		return nil, false
	}
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = *v
	}
	return out, true
}

func mapOfStrings(raw []byte) (map[string]any, bool) {
	var m map[string]*string
	if json.Unmarshal(raw, &m) != nil {
		return nil, false
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		if v == nil {
			return nil, false
		}
		out[k] = *v
	}
	return out, true
}

func eachOneOf(p v1alpha1.PolicyParameter, list []any) error {
	for _, v := range list {
		text, _ := v.(string)
		if err := oneOf(p, text); err != nil {
			return err
		}
	}
	return nil
}

func oneOf(p v1alpha1.PolicyParameter, value string) error {
	if len(p.OneOf) == 0 || slices.Contains(p.OneOf, value) {
		return nil
	}
	return fmt.Errorf("parameter %s is one of %s, and this is %q", p.Name, strings.Join(p.OneOf, ", "), value)
}

func shortened(raw []byte) string {
	const most = 64
	if len(raw) == 0 {
		return "null"
	}
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}
