// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"fmt"
	"slices"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

// Proposal is a change of one DestinationRule that may resolve a conflict.
type Proposal struct {
	// Object is the rule as it would be.
	Object *networkingv1.DestinationRule
	// Adds: there is none of its name yet.
	Adds bool
	// Inherits is the rule whose settings a new one has; the zero Name: none, there are
	// no settings to inherit.
	Inherits model.Name
	// Field is what is set, From what was there and To what would be: modes of TLS, empty
	// for nothing said.
	Field, From, To string
}

// String says what is done.
func (p *Proposal) String() string {
	name := p.Object.Namespace + "/" + p.Object.Name
	inherits := fmt.Sprintf("all settings of %s/%s", p.Inherits.Namespace, p.Inherits.Name)
	const decides = "so that Istio decides for each endpoint"
	switch {
	case p.Adds && p.Inherits == model.Name{}:
		return fmt.Sprintf("add DestinationRule %s, which sets %s to %s", name, p.Field, p.To)
	case p.Adds && p.To == "":
		return fmt.Sprintf("add DestinationRule %s, which has %s but %s, %s", name, inherits, p.Field, decides)
	case p.Adds:
		return fmt.Sprintf("add DestinationRule %s, which has %s and sets %s to %s", name, inherits, p.Field, p.To)
	case p.To == "":
		return fmt.Sprintf("take %s (%s) out of DestinationRule %s, %s", p.Field, p.From, name, decides)
	case p.From == "":
		return fmt.Sprintf("set %s of DestinationRule %s to %s", p.Field, name, p.To)
	}
	return fmt.Sprintf("change %s of DestinationRule %s from %s to %s", p.Field, name, p.From, p.To)
}

// wish is a mode of TLS that a rule should say; nil: it should say nothing.
type wish *networkingapi.ClientTLSSettings

var (
	mutual wish = &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_ISTIO_MUTUAL}
	plain  wish = &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_DISABLE}
	auto   wish
)

// wishes are the modes by which a row may be resolved, the best first. What Istio
// decides by itself holds for endpoints of either kind, and goes on to hold when they
// change.
func wishes(row *mtls.Row) []wish {
	switch {
	case row.Status == mtls.Partial:
		return []wish{auto, mutual, plain}
	case slices.Contains(row.Accepts, decide.MutualTLS):
		return []wish{mutual, auto}
	case slices.Contains(row.Accepts, decide.Plaintext):
		return []wish{auto, plain}
	}
	return nil
}

// Propose gives changes for a row in conflict, the smallest first: edits of the rule in
// force where it is for this host alone, and new rules beside one that is for many.
// None: no DestinationRule can resolve it.
func Propose(row *mtls.Row, rules *resolve.Resolver, client resolve.Client, service resolve.Service) []Proposal {
	trace := rules.DestinationRule(client, service)
	tls := trace.TLS(row.Port, row.Subset)
	wanted := slices.DeleteFunc(wishes(row), func(w wish) bool { return w == auto && !rules.Decides() })
	var out []Proposal
	for _, w := range wanted {
		if trace.Rule == nil {
			out = append(out, fresh(rules, service, service.Namespace, row.Port, w)...)
			continue
		}
		if edit := editOf(rules, trace, tls, w); edit != nil && trace.Rule.Host == service.Host {
			out = append(out, *edit)
		}
	}
	for _, w := range wanted {
		if trace.Rule == nil {
			out = append(out, fresh(rules, service, client.Namespace, row.Port, w)...)
			continue
		}
		if trace.Rule.Host != service.Host {
			out = append(out, heir(rules, trace, tls, service, trace.Rule.Name.Namespace, w)...)
		}
		if trace.Rule.Host == service.Host || trace.Rule.Name.Namespace != client.Namespace {
			out = append(out, heir(rules, trace, tls, service, client.Namespace, w)...)
		}
	}
	// What is as it was changes nothing.
	return slices.DeleteFunc(out, func(p Proposal) bool { return p.From == p.To })
}

// editOf sets TLS where the rule in force says it.
func editOf(rules *resolve.Resolver, trace *resolve.RuleTrace, tls resolve.TLSTrace, w wish) *Proposal {
	at := place(trace, tls)
	object := rules.Object(at.Object)
	if object == nil {
		return nil
	}
	object = object.DeepCopy()
	if !set(&object.Spec, at.Field, w) {
		return nil
	}
	return &Proposal{Object: object, Field: at.Field, From: at.Mode(), To: modeOf(w)}
}

func modeOf(w wish) string {
	if w == nil {
		return ""
	}
	return (*networkingapi.ClientTLSSettings)(w).GetMode().String()
}

// place is where a rule says TLS for a port, or would.
func place(trace *resolve.RuleTrace, tls resolve.TLSTrace) resolve.TLSView {
	switch {
	case tls.Cluster.Settings != nil:
		return tls.Cluster
	case tls.Cluster.Part != resolve.NoPart:
		// An entry for the port without tls, which takes away that around it.
		out := tls.Cluster
		out.Field += ".tls"
		return out
	case tls.Endpoints.Settings != nil:
		return tls.Endpoints
	}
	from := trace.Rule.PolicyFrom
	if from == (model.Name{}) {
		from = trace.Rule.Name
	}
	return resolve.TLSView{Object: from, Field: topField}
}

const topField = "spec.trafficPolicy.tls"

// fresh are new rules where none is in force, so that there is nothing to inherit: for
// all ports, and for one.
func fresh(rules *resolve.Resolver, service resolve.Service, namespace string, port uint16, w wish) []Proposal {
	if w == nil || namespace == "" {
		return nil
	}
	all := empty(rules, service, namespace)
	if namespace != service.Namespace {
		all.Spec.ExportTo = []string{"."}
	}
	one := all.DeepCopy()
	one.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{PortLevelSettings: []*networkingapi.TrafficPolicy_PortTrafficPolicy{{Port: &networkingapi.PortSelector{Number: uint32(port)}}}}
	const field = "spec.trafficPolicy.portLevelSettings[0].tls"
	if !set(&all.Spec, topField, w) || !set(&one.Spec, field, w) {
		return nil
	}
	return []Proposal{{Object: all, Adds: true, Field: topField, To: modeOf(w)}, {Object: one, Adds: true, Field: field, To: modeOf(w)}}
}

// empty is a rule of a name that nobody has.
func empty(rules *resolve.Resolver, service resolve.Service, namespace string) *networkingv1.DestinationRule {
	name := nameFor(service.Host)
	for i := 2; rules.Object(model.Name{Namespace: namespace, Name: name}) != nil; i++ {
		name = fmt.Sprintf("%s-%d", nameFor(service.Host), i)
	}
	out := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	out.APIVersion, out.Kind = networkingv1.SchemeGroupVersion.String(), "DestinationRule"
	out.Spec.Host = service.Host
	return out
}

// heir is a new rule for one host, with all that the rule in force says. In the
// namespace of that rule it is for the same clients; elsewhere it is private.
func heir(rules *resolve.Resolver, trace *resolve.RuleTrace, tls resolve.TLSTrace, service resolve.Service, namespace string, w wish) []Proposal {
	base := rules.Object(trace.Rule.Name)
	at := place(trace, tls)
	if base == nil || namespace == "" {
		return nil
	}
	object := empty(rules, service, namespace)
	spec := &object.Spec
	spec.TrafficPolicy = trace.Rule.TrafficPolicy.DeepCopy()
	for _, s := range trace.Rule.Subsets {
		spec.Subsets = append(spec.Subsets, s.DeepCopy())
	}
	spec.WorkloadSelector = base.Spec.GetWorkloadSelector().DeepCopy()
	spec.ExportTo = slices.Clone(base.Spec.GetExportTo())
	if namespace != base.Namespace {
		if _, selects := trace.Rule.Selector(); selects {
			return nil
		}
		spec.ExportTo = []string{"."}
	}
	field := inMerged(trace.Rule, at)
	if !set(spec, field, w) {
		return nil
	}
	renew(spec)
	return []Proposal{{Object: object, Adds: true, Inherits: trace.Rule.Name, Field: field, From: at.Mode(), To: modeOf(w)}}
}
