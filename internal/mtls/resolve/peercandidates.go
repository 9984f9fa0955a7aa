// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/internal/model"
)

// PolicyCandidate is a PeerAuthentication that somebody could expect to decide.
type PolicyCandidate struct {
	Name model.Name
	// Level is the one that it is written for; empty for one that has no effect
	// anywhere.
	Level Level
	// Mode is what it says for all ports; empty where it says nothing.
	Mode   Mode
	Reason PolicyReason
	// Why is the reason in one sentence.
	Why string
}

// PolicyReason is what became of a PeerAuthentication.
type PolicyReason string

const (
	// Decides is the one whose mode it is.
	Decides PolicyReason = "decides"
	// Inherits is one that counts and says no mode.
	Inherits PolicyReason = "inherits"
	// Overridden is one of a wider level than the one that decides.
	Overridden PolicyReason = "overridden"
	// NotFirst is one behind an older one of the same level.
	NotFirst PolicyReason = "not first"
	// OtherWorkloads is one whose selector is for others.
	OtherWorkloads PolicyReason = "other workloads"
	// RootSelector is one with a selector in the root namespace.
	RootSelector PolicyReason = "selector in the root namespace"
)

// Candidates are the PeerAuthentications of the root namespace and of the workload's
// own, in this order, and within a namespace in istiod's.
func (t *ModeTrace) Candidates() []PolicyCandidate {
	var out []PolicyCandidate
	namespaces := []string{t.resolver.root}
	if t.Workload.Namespace != t.resolver.root {
		namespaces = append(namespaces, t.Workload.Namespace)
	}
	for _, namespace := range namespaces {
		for _, p := range t.resolver.policies[namespace] {
			reason, why := t.why(p)
			out = append(out, PolicyCandidate{Name: p.name, Level: p.level, Mode: p.mode(), Reason: reason, Why: why})
		}
	}
	return out
}

// Why is the answer in one sentence.
func (t *ModeTrace) Why() string {
	if t.Policy == nil {
		return "No PeerAuthentication says a mode, so it is Istio's default, PERMISSIVE."
	}
	at := fmt.Sprintf("%s level", t.Level)
	if t.Level == PortLevel {
		at = fmt.Sprintf("port level, port %d", t.Port)
	}
	return fmt.Sprintf("PeerAuthentication %s says %s (%s).", full(nameOf(t.Policy)), t.Mode, at)
}

// why says what became of a policy.
func (t *ModeTrace) why(p *policy) (PolicyReason, string) {
	labels := labelText(p.object.Spec.GetSelector().GetMatchLabels())
	switch {
	case p.level == DefaultLevel:
		return RootSelector, fmt.Sprintf("It has a selector (%s) and is in the root namespace, where only PeerAuthentications without one count.", labels)
	case p.older != nil:
		return NotFirst, fmt.Sprintf("%s is for all workloads too and is %s; only one counts.%s", full(p.older.name), precedes(p.older.object, p.object), lostPorts(p))
	case p.level == WorkloadLevel && t.wide:
		return OtherWorkloads, fmt.Sprintf("It is for single workloads (%s), which this question does not look at.", labels)
	case p.level == WorkloadLevel && !p.selects(t.Workload):
		return OtherWorkloads, fmt.Sprintf("Its selector (%s) does not select the workload.", labels)
	case p.level == WorkloadLevel && p != t.workload:
		return NotFirst, fmt.Sprintf("%s selects the workload too and is %s; only one counts.%s", full(t.workload.name), precedes(t.workload.object, p.object), lostPorts(p))
	case t.Policy == p.object:
		return Decides, t.whyDecides(p) + idlePorts(p)
	case p.mode() == unset:
		return Inherits, t.whyUnset() + idlePorts(p)
	}
	return Overridden, fmt.Sprintf("%s is of the narrower %s level and decides instead.%s", full(nameOf(t.Policy)), t.Level, idlePorts(p))
}

func (t *ModeTrace) whyDecides(p *policy) string {
	switch {
	case t.Level == PortLevel:
		return fmt.Sprintf("It decides: it says %s for port %d.", t.Mode, t.Port)
	case p == t.workload && t.Port != 0 && p.object.Spec.GetPortLevelMtls()[uint32(t.Port)] != nil:
		return fmt.Sprintf("It decides: it says %s, and its entry for port %d says no mode.", t.Mode, t.Port)
	case p == t.workload && t.Port != 0 && len(p.object.Spec.GetPortLevelMtls()) > 0:
		return fmt.Sprintf("It decides: it says %s, and has no entry for port %d.", t.Mode, t.Port)
	}
	return fmt.Sprintf("It decides: it says %s for the %s level, and nothing narrower does.", t.Mode, p.level)
}

// whyUnset is about a policy that counts and says no mode.
func (t *ModeTrace) whyUnset() string {
	from := "Istio's default"
	if t.Policy != nil {
		from = full(nameOf(t.Policy))
	}
	return fmt.Sprintf("It says no mode, so that %s decides.", from)
}

// lostPorts is about ports of a policy that does not count.
func lostPorts(p *policy) string {
	if len(p.object.Spec.GetPortLevelMtls()) == 0 {
		return ""
	}
	return " What it says for single ports does not count either."
}

// idlePorts is about ports of a policy that is for all workloads.
func idlePorts(p *policy) string {
	if p.level == WorkloadLevel || len(p.object.Spec.GetPortLevelMtls()) == 0 {
		return ""
	}
	return " What it says for single ports does not count, since it has no selector."
}

// precedes says how a policy comes before another one.
func precedes(first, second *securityv1.PeerAuthentication) string {
	if first.CreationTimestamp.Compare(second.CreationTimestamp.Time) != 0 {
		return "older"
	}
	return "as old and first by name"
}
