// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/internal/model"
)

const (
	// maximumWarning is what an API server passes on without cutting it off.
	maximumWarning = 256
	// maximumWarnings keeps a terminal readable; the status has all of them.
	maximumWarnings = 10
	// maximumRefusals is the same for refusals.
	maximumRefusals = 20
)

// response puts a verdict into words.
func response(candidate model.Reference, v verdict) admission.Response {
	if len(v.refused) > 0 {
		return refusalOf(candidate, v.refused)
	}
	out := admission.Allowed("")
	for _, f := range v.warned {
		out.Warnings = append(out.Warnings, at(f)+f.Message+" ("+f.Reason+"). "+f.Fix)
	}
	for _, f := range v.closed {
		out.Warnings = append(out.Warnings, "this change closes something of "+f.Object.String()+": "+f.Message+" ("+f.Reason+")")
	}
	if more := len(out.Warnings) - maximumWarnings; more > 0 {
		out.Warnings = append(out.Warnings[:maximumWarnings], fmt.Sprintf("and %d more, see status.problems of the objects concerned", more))
	}
	for i, warning := range out.Warnings {
		out.Warnings[i] = cut(warning)
	}
	return out
}

// refusalOf says of each finding what, why, whose rule and what to do. Clients
// show the message; machines read the causes.
func refusalOf(candidate model.Reference, findings []model.Finding) admission.Response {
	var text strings.Builder
	fmt.Fprintf(&text, "%s cannot be accepted:", candidate)
	var causes []metav1.StatusCause
	for i, f := range findings {
		if i == maximumRefusals {
			fmt.Fprintf(&text, "\nand %d more", len(findings)-i)
			break
		}
		fmt.Fprintf(&text, "\n- %s%s (%s)\n  rule: %s\n  do: %s", at(f), f.Message, f.Reason, f.Owner, f.Fix)
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseType(f.Reason), Field: f.Field, Message: f.Message})
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: false,
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: text.String(),
			Details: &metav1.StatusDetails{Group: candidate.Group, Kind: candidate.Kind, Name: candidate.Name, Causes: causes},
		},
	}}
}

// at is where in the document something is wrong; empty where it is the whole of it.
func at(f model.Finding) string {
	if f.Field == "" {
		return ""
	}
	return f.Field + ": "
}

// later asks to try again: nothing is wrong with the object.
func later(why string) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: false,
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
			Message: why,
		},
	}}
}

// cut shortens a text to whole characters within the limit.
func cut(text string) string {
	if len(text) <= maximumWarning {
		return text
	}
	end := maximumWarning - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
