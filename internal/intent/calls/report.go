// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"fmt"
	"slices"

	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// refusal is what a check has to say, before it is tied to an object.
type refusal struct{ reason, message, owner, fix string }

func (r *resolver) add(severity model.Severity, at model.Origin, why refusal) {
	r.findings = append(r.findings, model.Finding{
		Severity: severity, Object: at.Object, Field: at.Field, Position: r.snapshot.Position(at.Object, at.Field),
		Reason: why.reason, Message: why.message, Owner: why.owner, Fix: why.fix,
	})
}

func (r *resolver) refuse(at model.Origin, why refusal) { r.add(model.SeverityError, at, why) }
func (r *resolver) warn(at model.Origin, why refusal)   { r.add(model.SeverityWarning, at, why) }

// field is the origin of a part of what at is the origin of.
func field(at model.Origin, format string, arguments ...any) model.Origin {
	part := fmt.Sprintf(format, arguments...)
	if at.Field != "" {
		part = at.Field + "." + part
	}
	at.Field = part
	return at
}

// checkProxies refuses a statement that no proxy would hold anybody to: ztunnels, which
// stand in for sidecars in ambient mode, read no Sidecar.
func (r *resolver) checkProxies(e *Egress) {
	const label, value = "istio.io/dataplane-mode", "ambient"
	pods := e.Application.Pods
	namespace, _ := r.snapshot.Namespace(pods.Namespace)
	ambient := namespace.Labels[label] == value || slices.ContainsFunc(r.snapshot.Selected(pods.Namespace, pods.Selector), func(w model.Workload) bool {
		return w.Labels[label] == value
	})
	if ambient {
		r.unheld(e, "it is in ambient mode, where no proxy of its own restricts what it calls", refusal{"CallsNotEnforced",
			"the workload is in ambient mode, where no proxy of its own restricts what it calls; nothing that is stated here keeps it from calling others",
			"label " + label + " of namespace " + pods.Namespace + " or its pods", "run the workload with a sidecar, or take spec.access.calls out"})
	}
}

// unheld refuses a statement that may not hold, and says the same of policies about it.
func (r *resolver) unheld(e *Egress, why string, of refusal) {
	if len(e.limits) == 0 {
		r.refuse(e.Origin, of)
	}
	for _, c := range limits(e.Application) {
		r.judged([]policy.Judgement{e.Application.Policies().Unheld(c, why)})
	}
}

// checkForeign refuses a second Sidecar for the same pods: Istio takes one of them, so
// what is stated here may not hold.
func (r *resolver) checkForeign(e *Egress) {
	for _, f := range r.samePods(e) {
		r.unheld(e, "of two Sidecars for a workload Istio takes one, and "+f.Ref.String()+" is for the same pods", refusal{"Conflicted",
			fmt.Sprintf("%s is for the same pods; of two Sidecars for a workload Istio takes one, so what is stated here may not hold", f.Ref),
			f.Ref.String(), "delete that Sidecar, or take spec.access.calls out here"})
	}
}

// samePods are the Sidecars of others for pods of an Application. Istio takes these before
// that of a namespace.
func (r *resolver) samePods(e *Egress) []model.Foreign {
	pods := e.Application.Pods
	var out []model.Foreign
	for _, f := range r.snapshot.Foreign("Sidecar") {
		if f.Ref.Namespace != pods.Namespace || len(f.Selector) == 0 {
			continue
		}
		if model.Selects(f.Selector, pods.Selector) || slices.ContainsFunc(r.snapshot.Selected(pods.Namespace, pods.Selector), func(w model.Workload) bool {
			return model.Selects(f.Selector, w.Labels)
		}) {
			out = append(out, f)
		}
	}
	return out
}
