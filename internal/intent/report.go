// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"

	"github.com/trellis-mesh/trellis/internal/model"
)

// refusal is what a check has to say, before it is tied to an object.
type refusal struct {
	reason  string
	message string
	owner   string
	fix     string
}

// reporter collects findings and knows which objects have errors.
type reporter struct {
	snapshot *model.Snapshot
	findings []model.Finding
}

func (r *reporter) add(severity model.Severity, at model.Origin, why refusal) {
	r.findings = append(r.findings, model.Finding{
		Severity: severity,
		Object:   at.Object,
		Field:    at.Field,
		Position: r.snapshot.Position(at.Object, at.Field),
		Reason:   why.reason,
		Message:  why.message,
		Owner:    why.owner,
		Fix:      why.fix,
	})
}

func (r *reporter) refuse(at model.Origin, why refusal) { r.add(model.SeverityError, at, why) }
func (r *reporter) warn(at model.Origin, why refusal)   { r.add(model.SeverityWarning, at, why) }

// field is the origin of a part of what at is the origin of.
func field(at model.Origin, format string, arguments ...any) model.Origin {
	part := fmt.Sprintf(format, arguments...)
	if at.Field != "" {
		part = at.Field + "." + part
	}
	at.Field = part
	return at
}
