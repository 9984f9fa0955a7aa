// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package resolve says which DestinationRule decides for a client and a service, which
// PeerAuthentication decides for a workload, and why the others do not. It follows
// istiod's choice (pilot/pkg/model/push_context.go, destination_rule.go, sidecar.go and
// authentication.go, pilot/pkg/security/authn/policy_applier.go); its tests ask Istio's
// own code the same questions.
//
// It does not ask whether the client sees the service at all (Sidecar, exportTo of
// services), and knows no rules that istiod makes of Gateway API policies.
package resolve

import (
	"cmp"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Input is all that decides. Nobody may change the objects afterwards.
type Input struct {
	DestinationRules    []*networkingv1.DestinationRule
	PeerAuthentications []*securityv1.PeerAuthentication
	// RootNamespace is the mesh's (meshConfig.rootNamespace); empty is istio-system.
	RootNamespace string
	// DefaultExportTo is meshConfig.defaultDestinationRuleExportTo; empty is "*".
	DefaultExportTo []string
	// Domain is the DNS suffix of Services; empty is cluster.local.
	Domain string
	// ManualTLS says that Istio does not decide about TLS where no rule does
	// (meshConfig.enableAutoMtls is false).
	ManualTLS bool
}

// Resolver answers. It is immutable and safe for concurrent use.
type Resolver struct {
	root   string
	domain string

	// rules are all, in the order in which istiod reads them.
	rules []*rule
	// local, exported and rootLocal are istiod's three indexes of DestinationRules
	// (destinationRuleIndex in push_context.go), the first two by namespace.
	local, exported map[string]*index
	rootLocal       *index
	// defaultPrivate is true where rules without exportTo stay in their namespace.
	defaultPrivate bool
	manualTLS      bool

	// policies are by namespace, in the order in which istiod reads them.
	policies map[string][]*policy
}

// Client is who sends.
type Client struct {
	Namespace string
	// Labels are the workload's; workloadSelectors look at them.
	Labels map[string]string
	// Gateway is true for gateways, which may use the secrets that any rule names;
	// sidecars may not.
	Gateway bool
}

// Service is what is sent to.
type Service struct {
	// Host is the whole name, or the host of a ServiceEntry.
	Host      string
	Namespace string
}

// Workload is who is sent to.
type Workload struct {
	Namespace string
	Labels    map[string]string
}

// New reads the objects.
func New(in Input) *Resolver {
	r := &Resolver{
		root: cmp.Or(in.RootNamespace, "istio-system"), domain: cmp.Or(in.Domain, "cluster.local"),
		// Of the mesh's default only this counts (setDestinationRules).
		defaultPrivate: slices.Contains(in.DefaultExportTo, private), manualTLS: in.ManualTLS,
	}
	r.addRules(in.DestinationRules)
	r.addPolicies(in.PeerAuthentications)
	return r
}

// Decides reports whether Istio decides about TLS where no rule does.
func (r *Resolver) Decides() bool { return !r.manualTLS }

// Object is the DestinationRule of a name, as it is written; nil for none. Read only.
func (r *Resolver) Object(name model.Name) *networkingv1.DestinationRule {
	at := slices.IndexFunc(r.rules, func(o *rule) bool { return o.name == name })
	if at < 0 {
		return nil
	}
	return r.rules[at].object
}

// nameOf is the name that people know an object by.
func nameOf(object interface {
	GetNamespace() string
	GetName() string
}) model.Name {
	return model.Name{Namespace: object.GetNamespace(), Name: object.GetName()}
}

// selects reports whether labels have all of a selector (pkg/config/labels, SubsetOf).
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}
