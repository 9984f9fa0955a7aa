// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package calls resolves whom Applications call. Where an Application states it, its
// proxy lets out nothing else, and what another Application is called for must be what
// that one lets in: a call is stated on both sides or it is not made. Whatever cannot
// be resolved is left out of what may be called, and a finding says so. Like package
// intent it is pure, and knows no output kind.
//
// Nothing here keeps a workload from going past its own proxy; what guards callees are
// their own rules, which are there whatever callers state.
package calls

import (
	"github.com/trellis-mesh/trellis/internal/intent"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
)

// Calls are whom all Applications of a Graph call that state it.
type Calls struct {
	// Egresses are in the order of the Graph's Applications.
	Egresses []*Egress
	// Externals are in order of namespace and host.
	Externals []*External
	Findings  []model.Finding
}

// Egress is all that one Application may call, since it states it or a policy does.
type Egress struct {
	Application *intent.Application
	// Origin is that of the statement as a whole.
	Origin model.Origin
	// Services of the mesh, and hosts outside of it, each once, in order.
	Services []Service
	Hosts    []Host
	// Patterns are all that may be called of an Application that states nothing, and that a
	// policy keeps from hosts outside of the mesh. Then Origin is that of the policy.
	Patterns []Pattern

	// limits are these policies.
	limits []*policy.Contribution
}

// Service is a Kubernetes Service that may be called.
type Service struct {
	Name   model.Name
	Origin model.Origin
}

// Host is a host outside of the mesh that may be called.
type Host struct {
	Name   string
	Origin model.Origin
}

// External is a host outside of the mesh, as all Applications of a namespace know it:
// Istio has one entry for a host in a namespace, so theirs are joined.
type External struct {
	Namespace string
	Host      string
	// Addresses are those of a host that is spoken to in TCP; empty for others, which are
	// found by DNS.
	Addresses []string
	// Ports in order of their numbers.
	Ports []Port
	// Owners are the Applications that call it, in order.
	Owners []model.Reference
}

// Port is one port of an External.
type Port struct {
	Number int32
	// Protocol is HTTP, TLS or TCP.
	Protocol string
	// Origin is the first entry that states it.
	Origin model.Origin
}
