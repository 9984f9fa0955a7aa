// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// Mode is what a workload accepts.
type Mode string

// The modes (PeerAuthentication.MutualTLS.Mode). Permissive is Istio's default.
const (
	Strict     Mode = "STRICT"
	Permissive Mode = "PERMISSIVE"
	Disable    Mode = "DISABLE"
	// unset stands for the mode of the level above.
	unset Mode = ""
)

// Level is how far a PeerAuthentication reaches.
type Level string

// The levels, the widest first. The narrowest that says a mode decides.
const (
	DefaultLevel   Level = ""
	MeshLevel      Level = "mesh"
	NamespaceLevel Level = "namespace"
	WorkloadLevel  Level = "workload"
	PortLevel      Level = "port"
)

// policy is one PeerAuthentication.
type policy struct {
	object *securityv1.PeerAuthentication
	name   model.Name
	// level is that of all that has effect; a policy with a selector in the root
	// namespace has none.
	level Level
	// older is the policy for all of the same namespace that came before.
	older *policy
}

// ModeTrace is an answer about PeerAuthentications.
type ModeTrace struct {
	Workload Workload
	// Port is the workload's, not the Service's; 0 for ports that nothing is said of.
	Port uint16
	Mode Mode
	// Policy is the one that says it; nil for Istio's default.
	Policy *securityv1.PeerAuthentication
	Level  Level

	resolver *Resolver
	// mesh, namespace and workload are the ones that count on each level; nil for none.
	mesh, namespace, workload *policy
	// wide is true for a question about a whole namespace.
	wide bool
}

// addPolicies keeps them in order (addPeerAuthentication in pilot/pkg/model/authentication.go).
func (r *Resolver) addPolicies(objects []*securityv1.PeerAuthentication) {
	sorted := slices.SortedFunc(slices.Values(objects), func(a, b *securityv1.PeerAuthentication) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	r.policies = map[string][]*policy{}
	first := map[string]*policy{}
	for _, object := range sorted {
		p := &policy{object: object, name: nameOf(object)}
		inRoot := object.Namespace == r.root
		forAll := len(object.Spec.GetSelector().GetMatchLabels()) == 0
		switch {
		case forAll && inRoot:
			p.level = MeshLevel
		case forAll:
			p.level = NamespaceLevel
		case !inRoot:
			p.level = WorkloadLevel
		}
		if forAll {
			if p.older = first[object.Namespace]; p.older == nil {
				first[object.Namespace] = p
			}
		}
		r.policies[object.Namespace] = append(r.policies[object.Namespace], p)
	}
}

// PeerAuthentication says what a workload accepts on one of its ports
// (ComposePeerAuthentication in pilot/pkg/security/authn/policy_applier.go).
func (r *Resolver) PeerAuthentication(workload Workload, port uint16) *ModeTrace {
	t := r.NamespaceMode(workload.Namespace)
	t.Workload, t.Port, t.wide = workload, port, false
	for _, p := range r.policies[workload.Namespace] {
		if p.level == WorkloadLevel && p.selects(workload) {
			t.workload = p
			break
		}
	}
	if t.workload == nil {
		return t
	}
	t.take(t.workload, t.workload.mode(), WorkloadLevel)
	t.take(t.workload, t.workload.portMode(port), PortLevel)
	return t
}

// NamespaceMode says what is said for all workloads of a namespace. Istio takes that
// for what a service of the namespace accepts when it makes a client's cluster, whatever
// is said for single workloads (BestEffortInferServiceMTLSMode in
// pilot/pkg/model/push_context.go).
func (r *Resolver) NamespaceMode(namespace string) *ModeTrace {
	t := &ModeTrace{Workload: Workload{Namespace: namespace}, Mode: Permissive, resolver: r, wide: true}
	t.mesh = firstOf(r.policies[r.root], MeshLevel)
	t.namespace = firstOf(r.policies[namespace], NamespaceLevel)
	t.take(t.mesh, t.mesh.mode(), MeshLevel)
	t.take(t.namespace, t.namespace.mode(), NamespaceLevel)
	return t
}

func firstOf(policies []*policy, level Level) *policy {
	for _, p := range policies {
		if p.level == level {
			return p
		}
	}
	return nil
}

// take lets a policy decide if it says something.
func (t *ModeTrace) take(p *policy, mode Mode, level Level) {
	if mode != unset {
		t.Mode, t.Policy, t.Level = mode, p.object, level
	}
}

func (p *policy) selects(workload Workload) bool {
	return selects(p.object.Spec.GetSelector().GetMatchLabels(), workload.Labels)
}

// mode is what it says for all ports.
func (p *policy) mode() Mode {
	if p == nil {
		return unset
	}
	return modeOf(p.object.Spec.GetMtls())
}

// portMode is what it says for one.
func (p *policy) portMode(port uint16) Mode {
	return modeOf(p.object.Spec.GetPortLevelMtls()[uint32(port)])
}

func modeOf(m *securityapi.PeerAuthentication_MutualTLS) Mode {
	if m.GetMode() == securityapi.PeerAuthentication_MutualTLS_UNSET {
		return unset
	}
	return Mode(m.GetMode().String())
}
