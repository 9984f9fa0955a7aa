// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/internal/model"
)

// referenceRules are the messages of the CEL rules that references explains.
var referenceRules = []string{
	"every route names one of spec.ports",
	"every exposure names routes that spec.routes declares",
	"every caller names routes that spec.routes declares",
}

// references finds every name inside an Application that nothing in it has. The
// API server says only that some name is wrong; here each has its line. Lists
// that were too long are not searched: they are not complete any more.
func (k *kind) references(value map[string]any, long []string) []model.Finding {
	if k.gvk.Kind != "Application" {
		return nil
	}
	var out []model.Finding
	missing := func(field, kind, name, list string, known []string) {
		out = append(out, model.Finding{
			Severity: model.SeverityError, Field: field, Reason: ReasonSchemaInvalid, Owner: owner,
			Message: fmt.Sprintf("there is no %s %s in %s", kind, name, list),
			Fix:     declare(name, list, known),
		})
	}
	routes := items(value, "spec.routes")
	if ports := names(items(value, "spec.ports")); !slices.Contains(long, "spec.ports") {
		for i, route := range routes {
			if port, ok := text(route, "port"); ok && !slices.Contains(ports, port) {
				missing(fmt.Sprintf("spec.routes[%d].port", i), "port", port, "spec.ports", ports)
			}
		}
	}
	if slices.Contains(long, "spec.routes") {
		return out
	}
	known := names(routes)
	for _, list := range []string{"spec.exposures", "spec.access.callers"} {
		for i, item := range items(value, list) {
			for j, name := range items(item, "routes") {
				if name, ok := name.(string); ok && !slices.Contains(known, name) {
					missing(fmt.Sprintf("%s[%d].routes[%d]", list, i, j), "route", name, "spec.routes", known)
				}
			}
		}
	}
	return out
}

func declare(name, list string, known []string) string {
	switch best := nearest(name, known); {
	case best != "":
		return fmt.Sprintf("did you mean %s? Otherwise declare %s in %s", best, name, list)
	case len(known) == 0:
		return fmt.Sprintf("declare %s in %s", name, list)
	}
	return fmt.Sprintf("declare %s in %s, or use one of: %s", name, list, strings.Join(known, ", "))
}

func items(value any, path string) []any {
	list, _ := lookup(value, path).([]any)
	return list
}

func text(value any, path string) (string, bool) {
	s, ok := lookup(value, path).(string)
	return s, ok
}

func names(list []any) []string {
	var out []string
	for _, item := range list {
		if name, ok := text(item, "name"); ok {
			out = append(out, name)
		}
	}
	return out
}
