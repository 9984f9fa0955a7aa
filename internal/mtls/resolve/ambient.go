// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve

// Ztunnel is what istiod makes of the answer for a workload that a ztunnel stands before:
// Strict, or Permissive for everything else.
// DISABLE is PERMISSIVE there, with one exception: the ports of a policy without a mode for
// the others, below a level that is STRICT, are looked at only if one of them is
// PERMISSIVE (pilot/pkg/serviceregistry/ambient/authorization.go,
// convertedSelectorPeerAuthentications).
func (t *ModeTrace) Ztunnel() Mode {
	switch {
	case t.Mode == Strict:
		return Strict
	case t.Mode == Disable && t.Level == PortLevel && t.workload.mode() == unset && t.above() == Strict && !t.workload.hasPort(Permissive):
		return Strict
	}
	return Permissive
}

// above is what the namespace or else the mesh says.
func (t *ModeTrace) above() Mode {
	for _, mode := range []Mode{t.namespace.mode(), t.mesh.mode()} {
		if mode != unset {
			return mode
		}
	}
	return Permissive
}

func (p *policy) hasPort(mode Mode) bool {
	for _, m := range p.object.Spec.GetPortLevelMtls() {
		if modeOf(m) == mode {
			return true
		}
	}
	return false
}
