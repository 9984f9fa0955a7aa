// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/model"
)

// reasonTestFailed is for a template that does not do what its own tests say.
const reasonTestFailed = "TemplateTestFailed"

// tests runs those of a template. They need nothing of the cluster.
func tests(ctx context.Context, ref model.Reference, t *v1alpha1.PolicyTemplate) ([]model.Finding, error) {
	results, err := catalog.Test(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("running the tests of %s: %w", ref, err)
	}
	var out []model.Finding
	for i := range results {
		if results[i].Passed() {
			continue
		}
		out = append(out, model.Finding{
			Severity: model.SeverityError, Object: ref, Field: fmt.Sprintf("spec.tests[%d]", i), Reason: reasonTestFailed,
			Message: fmt.Sprintf("test %q fails: %s", results[i].Name, strings.Join(results[i].Problems, "; ")),
			Owner:   ref.String(), Fix: "correct the policy or its test, and run trellis catalog test -f FILE",
		})
	}
	return out, nil
}
