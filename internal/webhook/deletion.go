// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// maximumUsers keeps the refusal of a deletion readable.
const maximumUsers = 10

// deletion refuses to take away a PolicyTemplate that is bound: what it is bound to
// would be closed. No other deletion is held up, and the chart registers no other.
func (h *Handler) deletion(request admission.Request) admission.Response {
	if request.Kind.Kind != "PolicyTemplate" {
		return admission.Allowed("")
	}
	object, err := decodeOne(request.Kind.Kind, request.OldObject.Raw)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	t, ok := object.(*v1alpha1.PolicyTemplate)
	if !ok || t.GetDeletionTimestamp() != nil {
		return admission.Allowed("")
	}
	input, err := h.input()
	if err != nil {
		return later(unknown(err))
	}
	users := usersOf(input, t)
	if len(users) == 0 {
		return admission.Allowed("")
	}
	if more := len(users) - maximumUsers; more > 0 {
		users = append(users[:maximumUsers], fmt.Sprintf("%d more", more))
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict,
			Message: fmt.Sprintf("PolicyTemplate %s cannot be deleted: it is bound, and without it what it is bound to would be closed or held to nothing (TemplateInUse)\n"+
				"  rule: %s\n  do: bind another version there, or delete these bindings first", t.Name, strings.Join(users, ", ")),
			Details: &metav1.StatusDetails{Group: v1alpha1.GroupName, Kind: request.Kind.Kind, Name: t.Name, Causes: []metav1.StatusCause{
				{Type: "TemplateInUse", Message: "bound by " + strings.Join(users, ", ")},
			}},
		},
	}}
}

// usersOf names the bindings that bind a template.
func usersOf(in model.Input, t *v1alpha1.PolicyTemplate) []string {
	var out []string
	s := model.NewSnapshot(model.Input{Mesh: in.Mesh, Policies: in.Policies})
	for _, b := range s.Policies().ClusterBindings {
		old := b.Spec.PolicyBindingSpec
		if b.Spec.Rollout != nil {
			old.Policy.Version = b.Spec.Rollout.From
		}
		if binds(&b.Spec.PolicyBindingSpec, t.Name) || binds(&old, t.Name) {
			out = append(out, s.PolicyReference("ClusterPolicyBinding", "", b.Name).String())
		}
	}
	for _, b := range s.Policies().Bindings {
		if binds(&b.Spec, t.Name) {
			out = append(out, s.PolicyReference("PolicyBinding", b.Namespace, b.Name).String())
		}
	}
	return out
}

// binds reports whether a binding is of the template with a name.
func binds(b *v1alpha1.PolicyBindingSpec, template string) bool {
	return v1alpha1.TemplateName(b.Policy.Name, b.Policy.Version) == template
}

func unknown(err error) string {
	return fmt.Sprintf("Trellis cannot check this yet: %s; try again in a moment.", err)
}
