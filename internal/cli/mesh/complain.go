// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"io"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/report"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Doubt says what makes the keys of identity providers matter to an answer.
type Doubt struct {
	// All asks for warnings and for everything that the generator lacks.
	All bool
	// Unknown: the answer is that it cannot be told.
	Unknown bool
	// Token: a real token is in the question, whose signature needs keys.
	Token bool
}

// about reports whether a problem matters.
func (d Doubt) about(p xds.Problem) bool {
	if p.Type == "JWKS" {
		return d.Unknown || d.Token
	}
	return d.All || d.Unknown || p.Kind == xds.Refused || p.Kind == xds.Unresolved
}

// Complain writes what is wrong with the files, as other commands do, and what
// Istio's generator could not be given, where that matters to the answer: an
// object that it cannot read always does, keys only where a signature is looked at.
func (m *Mesh) Complain(w io.Writer, colour bool, d Doubt) error {
	var findings []model.Finding
	for _, f := range m.Report.Findings {
		if d.All || f.Severity == model.SeverityError {
			findings = append(findings, f)
		}
	}
	if err := report.Findings(w, findings, colour); err != nil {
		return fmt.Errorf("writing the findings: %w", err)
	}
	for _, lack := range m.Lacks {
		if _, err := fmt.Fprintf(w, "note: %s\n", lack); err != nil {
			return fmt.Errorf("writing what is not known: %w", err)
		}
	}
	said := map[string]bool{}
	for _, p := range m.Problems {
		what := p.Type + " " + p.Resource
		if !d.about(p) || said[what] {
			continue
		}
		said[what] = true
		if _, err := fmt.Fprintf(w, "note: %s %s: %s\n", p.Type, p.Resource, p.Detail); err != nil {
			return fmt.Errorf("writing what is not known: %w", err)
		}
	}
	return nil
}
