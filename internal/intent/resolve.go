// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// resolver holds what one resolution has found so far. Its steps run in the
// order in which Resolve names them.
type resolver struct {
	reporter
	graph     *Graph
	ingresses map[model.Name]*Ingress
	// applications by namespace and name, resolved or not.
	applications map[model.Name]*Application
	// hosts are those under a claim, each with its publications on every ingress.
	hosts map[string][]*Publication
	// admitted remembers what admissions found.
	admitted map[admission][]*v1alpha1.ApplicationAdmission
	others   otherSettings
}

// Resolve turns a Snapshot into a Graph. It never fails: what is wrong is
// closed, and a finding says so.
func Resolve(s *model.Snapshot) *Graph {
	for policies := policy.Compile(s); ; policies = policies.Again() {
		r := &resolver{
			reporter:     reporter{snapshot: s},
			graph:        &Graph{Policies: policies},
			ingresses:    make(map[model.Name]*Ingress),
			applications: make(map[model.Name]*Application),
			hosts:        make(map[string][]*Publication),
			admitted:     make(map[admission][]*v1alpha1.ApplicationAdmission),
			others:       newOtherSettings(s),
		}
		if r.resolve() {
			return r.graph
		}
	}
}

// resolve returns false where PolicyBindings of a namespace cost too much, so that not all of
// them were asked. It looks before each step that reads what policies said in those before:
// so what a namespace costs never hangs on who else was asked, and in which order.
func (r *resolver) resolve() bool {
	for _, in := range r.snapshot.SecureIngresses() {
		r.resolveIngress(in)
	}
	if r.graph.Policies.Overspent() {
		return false
	}
	r.settleSharedGateways()
	for _, app := range r.snapshot.Applications() {
		r.resolveApplication(app)
	}
	r.settleSharedWorkloads()
	for _, app := range r.graph.Applications {
		r.resolveExposures(app)
	}
	if r.graph.Policies.Overspent() {
		return false
	}
	r.settleHosts()
	for _, app := range r.graph.Applications {
		r.judgeRoutes(app)
	}
	for _, in := range r.graph.Ingresses {
		r.settleCertificates(in)
	}
	for _, app := range r.graph.Applications {
		r.resolveProviders(app)
		r.resolveAccess(app)
		r.judgeCalls(app)
		r.checkTests(app)
	}
	r.reportIngresses()
	r.foreignPolicies()
	r.findings = append(r.findings, r.graph.Policies.Findings...)
	r.graph.Findings = model.SortFindings(r.findings)
	return !r.graph.Policies.Overspent()
}

// Origins of the objects themselves.
func (r *resolver) applicationOrigin(app *v1alpha1.Application) model.Origin {
	return model.Origin{
		Object: r.snapshot.ApplicationReference(app.Namespace, app.Name),
		Layer:  model.LayerApplication,
		Source: app.Annotations[v1alpha1.SourceAnnotation],
	}
}

func (r *resolver) ingressOrigin(in *v1alpha1.SecureIngress) model.Origin {
	return model.Origin{
		Object: r.snapshot.SecureIngressReference(in.Namespace, in.Name),
		Layer:  model.LayerPlatform,
		Source: in.Annotations[v1alpha1.SourceAnnotation],
	}
}

func comparePublications(a, b *Publication) int {
	return cmp.Or(
		a.Application.Ref.Compare(b.Application.Ref),
		strings.Compare(a.Route.Name, b.Route.Name),
		strings.Compare(a.Exposure, b.Exposure),
		strings.Compare(a.Host.Name, b.Host.Name),
		a.Host.Ingress.Ref.Compare(b.Host.Ingress.Ref),
	)
}

func stringsOf[T ~string](in []T) []string {
	out := make([]string, 0, len(in))
	for _, v := range in {
		out = append(out, string(v))
	}
	slices.Sort(out)
	return out
}
