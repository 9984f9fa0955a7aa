// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
)

var update = flag.Bool("update", false, "write docs/reference/catalog.md")

const page = "../../docs/reference/catalog.md"

// TestTheReferenceIsWhatTheCatalogHas keeps docs/reference/catalog.md from ageing.
func TestTheReferenceIsWhatTheCatalogHas(t *testing.T) {
	want := reference(entries(t))
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the catalog says (%v); run: go test ./internal/catalog -run Reference -update", page, err)
	}
}

func reference(all []catalog.Entry) string {
	var b strings.Builder
	b.WriteString("# The policy catalog\n\n" +
		"<!-- Written by `go test ./internal/catalog -run Reference -update` from catalog/. Do not edit. -->\n\n" +
		"The policies that Trellis comes with. `trellis catalog show NAME` prints one with a binding for it,\n" +
		"`trellis catalog show NAME -o yaml` its PolicyTemplate, and `trellis catalog test` runs the tests of all.\n" +
		"A control is named where the policy helps to meet it; none is met by a policy alone.\n\n" +
		"| Policy | Severity | What is true where it holds |\n| --- | --- | --- |\n")
	for i := range all {
		spec := &all[i].Template.Spec
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", spec.Policy, spec.Policy, spec.Severity, spec.Title)
	}
	for i := range all {
		describe(&b, all[i].Template)
	}
	return b.String()
}

func describe(b *strings.Builder, t *v1alpha1.PolicyTemplate) {
	spec := &t.Spec
	fmt.Fprintf(b, "\n## %s\n\n%s. Version %s, severity %s.\n\n%s\n", spec.Policy, spec.Title, spec.Version, spec.Severity, strings.TrimSpace(spec.Description))
	if len(spec.Parameters) > 0 {
		b.WriteString("\n| Parameter | Type | Default | Meaning |\n| --- | --- | --- | --- |\n")
		for i := range spec.Parameters {
			p := &spec.Parameters[i]
			standard := "required"
			if !p.Required {
				standard = "`" + catalog.Default(p) + "`"
			}
			meaning := p.Description
			if len(p.OneOf) > 0 {
				meaning += " One of " + strings.Join(p.OneOf, ", ") + "."
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.Name, p.Type, standard, meaning)
		}
	}
	b.WriteString("\n")
	for i := range spec.Constraints {
		c := &spec.Constraints[i]
		b.WriteString(wrapped(fmt.Sprintf("- `%s`, of each %s: refused where %s.", c.Name, c.Subject, c.Message), "  "))
	}
	for i := range spec.Contributions {
		b.WriteString(wrapped(fmt.Sprintf("- `%s`: %s.", spec.Contributions[i].Name, catalog.Adds(&spec.Contributions[i])), "  "))
	}
	for i := range spec.Assertions {
		a := &spec.Assertions[i]
		b.WriteString(wrapped(fmt.Sprintf("- `%s`: tested with requests, and does not pass where %s.", a.Name, a.Message), "  "))
	}
	remedy := "Where it does not hold: " + spec.Remediation.Text
	if spec.Remediation.Link != "" {
		remedy += fmt.Sprintf(" ([more](%s))", spec.Remediation.Link)
	}
	controls := make([]string, len(spec.Controls))
	for i, c := range spec.Controls {
		controls[i] = "`" + string(c) + "`"
	}
	b.WriteString("\n" + wrapped(remedy, "") + "\n" + wrapped("Controls: "+strings.Join(controls, ", ")+".", ""))
	fmt.Fprintf(b, "\n```yaml\n%s```\n", catalog.Binding(t))
}

// wrapped breaks a text into lines that fit, of which all but the first have a margin.
func wrapped(text, margin string) string {
	const width = 110
	var out strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case length+1+len(word) > width:
			out.WriteString("\n" + margin)
			length = len(margin)
		default:
			out.WriteString(" ")
			length++
		}
		out.WriteString(word)
		length += len(word)
	}
	return out.String() + "\n"
}
