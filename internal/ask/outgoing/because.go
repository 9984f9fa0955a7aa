// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
)

// moment is what a side makes of a call, and by which statement.
func (a *asking) moment(d destination, of fate) ask.Moment {
	out := ask.Moment{Outcome: of.outcome, Why: of.why}
	var by *ask.Origin
	switch {
	case of.outcome == decide.Allow && !a.scope.Registry:
		out.Why = "nothing limits whom it calls"
	case of.outcome == decide.Allow:
		by = a.allowing(d)
	case of.outcome == decide.Deny:
		out.Why = "its own proxy keeps it in"
		if why, closing := a.closing(d); closing != nil {
			out.Why, by = why, closing
		} else if a.scope.Name != "" {
			by = a.limiting()
		} else {
			out.Why = "the mesh lets out only what it knows"
		}
	}
	if by != nil {
		out.Because = []ask.Origin{*by}
	}
	return out
}

// listens is the number of the listener whose hosts are the rules of a generated Sidecar.
const listens = 0

// allowing is the statement by which a limit leaves a destination to be called.
func (a *asking) allowing(d destination) *ask.Origin {
	if d.service == nil {
		return nil
	}
	if a.scope.Name == "" {
		if !d.service.External {
			return nil
		}
		out := a.Origins.Locate(ask.Origin{Object: "ServiceEntry " + text(d.service.Name)})
		return &out
	}
	listener, at, ok := a.scope.Lists(a.node.Namespace, d.service.Name.Namespace, d.host, d.port)
	if !ok {
		return nil
	}
	if made := a.made(at); made != nil && listener == listens {
		return made
	}
	out := a.Origins.Locate(ask.Origin{Object: a.sidecar(), Field: fmt.Sprintf("spec.egress[%d].hosts[%d]", listener, at)})
	return &out
}

// limiting is the statement of a limit as a whole.
func (a *asking) limiting() *ask.Origin {
	if a.whole != nil {
		return a.whole
	}
	out := ask.Origin{Object: a.sidecar(), Field: "spec.egress"}
	if made := a.made(0); made != nil {
		out = *made
		out.Field, _, _ = strings.Cut(made.Field, "[")
	}
	out = a.Origins.Locate(out)
	a.whole = &out
	return a.whole
}

// made is what a host of a generated Sidecar was made from; nil: somebody wrote it by hand.
func (a *asking) made(rule int) *ask.Origin {
	return a.Origins.Of(decide.Step{Object: &decide.Object{Kind: "Sidecar", Namespace: a.scope.Namespace, Name: a.scope.Name, Rule: rule}})
}

func (a *asking) sidecar() string { return "Sidecar " + a.scope.Namespace + "/" + a.scope.Name }

// closing says why a call is kept in that its Application states all the same; nil: it does
// not.
func (a *asking) closing(d destination) (why string, by *ask.Origin) {
	app := a.applicationOf(*a.node)
	if app == nil || app.Spec.Access == nil {
		return "", nil
	}
	for i := range app.Spec.Access.Calls {
		if !a.names(&app.Spec.Access.Calls[i].Peer, d) {
			continue
		}
		field := fmt.Sprintf("spec.access.calls[%d]", i)
		for _, f := range a.Findings {
			if f.Severity == model.SeverityError && f.Object.Kind == "Application" && f.Object.Namespace == app.Namespace && f.Object.Name == app.Name && strings.HasPrefix(f.Field, field) {
				out := a.Origins.Locate(closedBy(&f))
				return f.Message, &out
			}
		}
	}
	return "", nil
}

// closedBy is the policy that a finding is of, or else the statement that it is about.
func closedBy(f *model.Finding) ask.Origin {
	owner, _, _ := strings.Cut(f.Owner, " (")
	switch kind, _, _ := strings.Cut(owner, " "); kind {
	case "ClusterPolicyBinding":
		return ask.Origin{Object: owner, Field: "spec.policy", Layer: model.LayerMandatory}
	case "PolicyBinding":
		return ask.Origin{Object: owner, Field: "spec.policy", Layer: model.LayerNamespace}
	}
	return ask.Origin{Object: "Application " + f.Object.Namespace + "/" + f.Object.Name, Field: f.Field, Layer: model.LayerApplication}
}

// names reports whether a call is of a destination.
func (a *asking) names(callee *v1alpha1.Callee, d destination) bool {
	switch {
	case callee.External != nil:
		return int(callee.External.Port) == int(d.port) && slices.Contains(callee.External.Hosts, v1alpha1.ExternalHost(d.host))
	case d.service == nil || d.service.External:
		return false
	case callee.Service != nil:
		return d.service.Name == model.Name{Namespace: string(callee.Service.Namespace), Name: string(callee.Service.Name)}
	case callee.Application != nil:
		return slices.ContainsFunc(a.Applications, func(app *v1alpha1.Application) bool {
			return app.Namespace == string(callee.Application.Namespace) && app.Name == string(callee.Application.Name) &&
				d.service.Name == model.Name{Namespace: app.Namespace, Name: app.Spec.Service}
		})
	}
	return false
}
