// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/trellis-mesh/trellis/internal/model"
)

func index(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func (s *Set) finding(severity model.Severity, at model.Origin, field, reason, message, owner, fix string) {
	s.Findings = append(s.Findings, model.Finding{
		Severity: severity, Object: at.Object, Field: field, Position: s.snapshot.Position(at.Object, field),
		Reason: reason, Message: message, Owner: owner, Fix: fix,
	})
}

func (s *Set) refuse(at model.Origin, field, reason, message, owner, fix string) {
	s.finding(model.SeverityError, at, field, reason, message, owner, fix)
}

func (s *Set) warn(at model.Origin, field, reason, message, owner, fix string) {
	s.finding(model.SeverityWarning, at, field, reason, message, owner, fix)
}

// selector reads one; a wrong one selects everything and breaks its binding, which is
// then closed for all that it may have meant.
func (s *Set) selector(b *Binding, field string, of *metav1.LabelSelector) labels.Selector {
	if of == nil {
		return labels.Everything()
	}
	out, err := metav1.LabelSelectorAsSelector(of)
	if err != nil {
		s.brokenBinding(b, field, "SelectorInvalid", "the selector cannot be read: "+err.Error(), "correct it")
		return labels.Everything()
	}
	return out
}
