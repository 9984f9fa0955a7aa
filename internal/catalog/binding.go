// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// Binding is a ClusterPolicyBinding of a template, as YAML that can be applied. It
// refuses nothing: its mode is Shadow. Required parameters have the values of the first
// test that sets them; the others stand in comments.
func Binding(template *v1alpha1.PolicyTemplate) string {
	spec := &template.Spec
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: ClusterPolicyBinding\nmetadata: {name: %s}\nspec:\n", v1alpha1.GroupVersion, spec.Policy)
	fmt.Fprintf(&b, "  policy: {name: %s, version: %s}\n", spec.Policy, spec.Version)
	b.WriteString("  tier: Mandatory\n" +
		"  mode: Shadow # says what it would refuse; Enforce refuses it\n" +
		"  # namespaces: {matchLabels: {env: prod}} # absent: all\n")
	var set, unset []string
	for _, p := range spec.Parameters {
		if p.Required {
			set = append(set, fmt.Sprintf("  - {name: %s, value: %s}\n", p.Name, example(template, p.Name)))
		} else {
			unset = append(unset, fmt.Sprintf("  # - {name: %s, value: %s}\n", p.Name, Default(&p)))
		}
	}
	switch {
	case len(set) > 0:
		b.WriteString("  parameters:\n")
	case len(unset) > 0:
		b.WriteString("  # parameters: # what holds where they are absent\n")
	}
	b.WriteString(strings.Join(set, "") + strings.Join(unset, ""))
	return b.String()
}

// example is the value that the first test gives a parameter.
func example(template *v1alpha1.PolicyTemplate, name string) string {
	for i := range template.Spec.Tests {
		for _, v := range template.Spec.Tests[i].Parameters {
			if v.Name == name {
				return compact(v.Value.Raw)
			}
		}
	}
	return "null"
}

// Default is what holds of a parameter that a binding does not set, as YAML.
func Default(p *v1alpha1.PolicyParameter) string {
	if p.Default != nil {
		return compact(p.Default.Raw)
	}
	switch p.Type {
	case v1alpha1.ParameterStrings:
		return "[]"
	case v1alpha1.ParameterInteger:
		return "0"
	case v1alpha1.ParameterBoolean:
		return "false"
	case v1alpha1.ParameterDuration:
		return "0s"
	case v1alpha1.ParameterLabels:
		return "{}"
	case v1alpha1.ParameterString:
	}
	return `""`
}

// compact writes JSON, which is YAML too, on one line with a space after each comma and
// colon between values.
func compact(raw []byte) string {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return string(raw)
	}
	return flow(value)
}

func flow(value any) string {
	switch v := value.(type) {
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = flow(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return "null"
		}
		return strings.ReplaceAll(string(text), `":"`, `": "`)
	}
}

//go:embed starter.yaml
var starter string

// starterName is the name of the policy in the starter.
const starterName = "my-policy"

// Starter is a template to begin with, which explains itself and passes its own tests.
func Starter(name string) string { return strings.ReplaceAll(starter, starterName, name) }

// Adds says in words what a contribution adds.
func Adds(c *v1alpha1.Contribution) string {
	switch {
	case c.DenyAccess != nil && c.DenyAccess.Applications != "":
		return "requests from Applications that the policy chooses are denied"
	case c.DenyAccess != nil:
		return "requests from namespaces that the policy chooses are denied"
	case c.RestrictAccess != nil && c.RestrictAccess.Applications != "":
		return "requests are denied but from Applications that the policy chooses, and from gateways"
	case c.RestrictAccess != nil:
		return "requests are denied but from namespaces that the policy chooses, and from gateways"
	case c.MutualTLS != nil:
		return "workloads take mutual TLS alone"
	case c.Authentication != nil && c.Authentication.Scopes != "":
		return "routes ask for a token with scopes"
	case c.Authentication != nil:
		return "routes ask for a token"
	case c.Timeout != nil:
		return "routes have a timeout"
	case c.TLS != nil:
		return "gateways take a minimum version of TLS"
	case c.Retries != nil:
		return "gateways repeat requests that fail no more often than the policy says"
	case c.Egress != nil:
		return "workloads call no hosts outside of the mesh but those that the policy lists"
	}
	return "nothing"
}
