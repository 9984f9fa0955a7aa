// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/calls"
	"github.com/trellis-mesh/trellis/internal/model"
)

// concurrency is how many changes are judged at once: a change among thousands
// of Applications is a matter of milliseconds, and the rest of the operator
// wants to live.
const concurrency = 4

// Handler answers admission reviews. It is safe for concurrent use.
type Handler struct {
	input func() (model.Input, error)
	slots chan struct{}
}

var _ admission.Handler = (*Handler)(nil)

// New makes a Handler. input returns what the cluster states now; nobody may
// change what it has returned. An error means that this is not known yet, and
// the answer is then to try again.
func New(input func() (model.Input, error)) *Handler {
	return &Handler{input: input, slots: make(chan struct{}, concurrency)}
}

// Register serves the paths that the chart registers, one for each kind.
func (h *Handler) Register(server Registrar) {
	for _, kind := range kindNames() {
		server.Register("/validate-trellis-dev-v1alpha1-"+strings.ToLower(kind), &admission.Webhook{Handler: h})
	}
}

// Handle implements admission.Handler. It answers within the request's deadline.
func (h *Handler) Handle(ctx context.Context, request admission.Request) admission.Response {
	if request.Operation == admissionv1.Delete {
		return h.deletion(request)
	}
	candidate, old, err := decode(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if candidate == nil || !matters(candidate, old) {
		return admission.Allowed("")
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return later("Trellis has more changes to check than it can in time; try again.")
	}
	input, err := h.input()
	if err != nil {
		return later(unknown(err))
	}
	ref := model.Reference{
		Cluster: input.Mesh.Cluster, Group: v1alpha1.GroupName, Kind: request.Kind.Kind,
		Namespace: candidate.GetNamespace(), Name: candidate.GetName(),
	}
	before, after := inputs(input, ref, candidate, old)
	found := model.SortFindings(append(foundIn(after, candidate), rollsOut(ref, old, candidate)...))
	if t, ok := candidate.(*v1alpha1.PolicyTemplate); ok {
		tested, err := tests(ctx, ref, t)
		if err != nil {
			return later(unknown(err))
		}
		found = model.SortFindings(append(found, tested...))
	}
	return response(ref, judge(ref, foundIn(before, old), found))
}

// foundIn compiles as things are, and once more as they will be when the
// candidate's Service has come, if it has not.
func foundIn(in model.Input, object client.Object) []model.Finding {
	found := findings(in)
	a, ok := object.(*v1alpha1.Application)
	if !ok {
		return found
	}
	assumed := assume(in, a)
	if len(assumed.Services) == len(in.Services) {
		return found
	}
	return model.SortFindings(append(found, findings(assumed)...))
}

// inputs are what the cluster states without the change and with it. The old
// object is what the API server says it is, whatever the caches have seen.
func inputs(in model.Input, ref model.Reference, candidate, old client.Object) (before, after model.Input) {
	rest := concerned(without(in, ref), candidate, old)
	before, after = rest, with(rest, candidate)
	if old != nil {
		before = with(rest, old)
	}
	return before, after
}

// findings are all that compiling finds: what comes after intent finds nothing more.
func findings(in model.Input) []model.Finding {
	snapshot := model.NewSnapshot(in)
	graph := intent.Resolve(snapshot)
	return model.SortFindings(append(graph.Findings, calls.Resolve(snapshot, graph).Findings...))
}

// decode reads the object and, of an update, what it was. No object: there is
// nothing to check.
func decode(request admission.Request) (candidate, old client.Object, err error) {
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update {
		return nil, nil, nil
	}
	if candidate, err = decodeOne(request.Kind.Kind, request.Object.Raw); err != nil {
		return nil, nil, err
	}
	// The API server fills in the namespace only after admission of some clients'
	// requests.
	if candidate.GetNamespace() == "" {
		candidate.SetNamespace(request.Namespace)
	}
	if candidate.GetName() == "" {
		candidate.SetName(request.Name)
	}
	if request.Operation == admissionv1.Update {
		old, err = decodeOne(request.Kind.Kind, request.OldObject.Raw)
	}
	return candidate, old, err
}

// matters tells whether a change can change what is generated, or what is let go: not so
// when the statement is the same, and not when the object is on its way out.
func matters(candidate, old client.Object) bool {
	if candidate.GetDeletionTimestamp() != nil {
		return false
	}
	return old == nil || !apiequality.Semantic.DeepEqual(statement(old), statement(candidate))
}
