// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package compile turns resolved intent into Istio objects. It is the one
// compiler: the operator applies, the CLI prints and the webhook judges what
// Compile returns. It is pure and deterministic, every object carries the
// provenance of each of its rules, and each rule carries exactly one reason.
package compile

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/intent/calls"
	"github.com/trellis-mesh/trellis/internal/model"
)

// builder collects what one compilation makes.
type builder struct {
	snapshot *model.Snapshot
	graph    *intent.Graph
	objects  []Object
	// use takes each object as soon as it is made; nil keeps them.
	use    func(Object)
	labels map[model.Reference]map[string]string
	broken []error
}

// Compile makes everything that follows from a Snapshot. It never fails: what
// is wrong is closed, and a finding says so.
func Compile(s *model.Snapshot) *Outcome { return compile(s, nil) }

// Stream is Compile for whoever does not need all objects at the same time: use
// is called with each, in no useful order, and the Objects of the Outcome have
// no Value.
func Stream(s *model.Snapshot, use func(Object)) *Outcome { return compile(s, use) }

func compile(s *model.Snapshot, use func(Object)) *Outcome {
	b := &builder{snapshot: s, graph: intent.Resolve(s), use: use, labels: map[model.Reference]map[string]string{}}
	// An Application makes about eight objects.
	b.objects = make([]Object, 0, len(b.graph.Claims)+8*len(b.graph.Applications))
	for _, claim := range b.graph.Claims {
		b.claim(claim)
	}
	for _, in := range b.graph.Ingresses {
		b.ingress(in)
	}
	for _, a := range b.graph.Applications {
		b.application(a)
	}
	called := calls.Resolve(s, b.graph)
	b.calls(called)
	b.graph.Findings = model.SortFindings(append(b.graph.Findings, called.Findings...))
	slices.SortFunc(b.objects, compareObjects)
	return b.outcome()
}

// Phase is the place of a kind in the order of applying: objects of a lower
// phase come first, and those of one phase do not depend on each other. What
// restricts is there before what lets requests in; removal goes the other way
// round. It is asked for at each comparison, hence no map.
func Phase(kind string) int {
	switch kind {
	case "ConfigMap":
		return 1
	case "EnvoyFilter", "ServiceEntry":
		return 2
	case "RequestAuthentication":
		return 3
	case "AuthorizationPolicy":
		return 4
	case "PeerAuthentication", "Sidecar":
		return 5
	case "DestinationRule", "ManagedCertificate", "ManagedRecord", "Certificate", "DNSEndpoint":
		return 6
	case "Gateway":
		return 7
	case "VirtualService":
		return 8
	}
	return 0 // HostClaim
}

func compareObjects(a, b Object) int { return CompareForApplying(a.Ref, b.Ref) }

// CompareForApplying orders objects by Phase, and then by name.
func CompareForApplying(a, b model.Reference) int {
	return cmp.Or(cmp.Compare(Phase(a.Kind), Phase(b.Kind)), a.Compare(b))
}

func (b *builder) add(value Resource, kind, group string, owners []model.Reference) {
	o := Object{
		Ref:    model.Reference{Cluster: b.snapshot.Mesh().Cluster, Group: group, Kind: kind, Namespace: value.GetNamespace(), Name: value.GetName()},
		Owners: owners,
		Value:  value,
	}
	if b.use != nil {
		b.use(o)
		o.Value = nil
	}
	b.objects = append(b.objects, o)
}

// claim makes the record of a host's owner. It outlives its Applications, so it
// is labelled as ours and owned by nobody.
func (b *builder) claim(c intent.Claim) {
	b.add(&v1alpha1.HostClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "HostClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: c.Host, Labels: map[string]string{LabelManagedBy: ManagedBy}},
		Spec:       v1alpha1.HostClaimSpec{Namespace: v1alpha1.LabelName(c.Namespace)},
	}, "HostClaim", v1alpha1.GroupName, c.Owners)
}

func lower(s string) string { return strings.ToLower(s) }

// outcome sums up what became of every Application and SecureIngress.
func (b *builder) outcome() *Outcome {
	out := &Outcome{
		Objects:  b.objects,
		Findings: b.graph.Findings,
		Policies: b.graph.Policies, Judgements: b.graph.Judgements, Contributions: b.graph.Contributions, Assertions: b.graph.Assertions,
		Applications: make(map[model.Reference]*ApplicationOutcome, len(b.graph.Applications)),
		Ingresses:    make(map[model.Reference]*IngressOutcome, len(b.graph.Ingresses)),
		Err:          errors.Join(b.broken...),
	}
	refused := make(map[model.Reference]bool)
	for i := range out.Findings {
		if out.Findings[i].Severity == model.SeverityError {
			refused[out.Findings[i].Object] = true
		}
	}
	for _, a := range b.graph.Applications {
		o := &ApplicationOutcome{Ref: a.Ref, Accepted: !refused[a.Ref], Addresses: addresses(a)}
		if a.Pods != nil {
			o.Workloads = WorkloadSelector(*a.Pods)
		}
		for _, in := range a.Ingresses() {
			o.Gateways = append(o.Gateways, WorkloadSelector(in.Pods))
		}
		out.Applications[a.Ref] = o
	}
	for _, in := range b.graph.Ingresses {
		o := &IngressOutcome{Ref: in.Ref, Accepted: !refused[in.Ref], Workloads: WorkloadSelector(in.Pods)}
		for _, h := range in.Hosts {
			o.Hosts = append(o.Hosts, h.Name)
		}
		o.Entries = b.entriesToMake(in)
		out.Ingresses[in.Ref] = o
	}
	b.awaits(out)
	for _, object := range b.objects {
		for _, owner := range object.Owners {
			if o := out.Applications[owner]; o != nil {
				o.Generated = append(o.Generated, object.Ref)
			}
			if o := out.Ingresses[owner]; o != nil {
				o.Generated = append(o.Generated, object.Ref)
			}
		}
	}
	b.probes(out)
	return out
}

// awaits marks the ingresses of Applications whose workload cannot be told. One
// that names no ingress may belong to any.
func (b *builder) awaits(out *Outcome) {
	for _, a := range b.graph.Applications {
		if a.Pods != nil {
			continue
		}
		for i := range a.Spec.Exposures {
			named := a.Spec.Exposures[i].Ingress
			for ref, in := range out.Ingresses {
				if named == nil || ref.Namespace == string(named.Namespace) && ref.Name == named.Name {
					in.Awaits = true
				}
			}
		}
	}
}

// addresses are the URLs at which an Application answers: one for each host and
// exposure, where at least one route is open.
func addresses(a *intent.Application) []v1alpha1.Address {
	var out []v1alpha1.Address
	for _, p := range a.Publications {
		if p.Closed || p.Host.Ingress.Closed {
			continue
		}
		address := v1alpha1.Address{URL: "https://" + p.Host.Name, Exposure: p.Exposure}
		if port := p.Host.Ingress.HTTPS.Number; port != 443 {
			address.URL += ":" + decimal(port)
		}
		address.URL += "/"
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	slices.SortFunc(out, func(x, y v1alpha1.Address) int {
		return cmp.Or(strings.Compare(x.URL, y.URL), strings.Compare(x.Exposure, y.Exposure))
	})
	return out
}
