// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Refusal says what stands in the way of a stage whoever calls.
type Refusal struct {
	// Object is the one that decides, such as PeerAuthentication shop/cart.
	Object string `json:"object"`
	// Message says what is wrong and why, and Fix what to do, and where.
	Message string `json:"message"`
	Fix     string `json:"fix"`
	// Instead is the object as it would have to be; nil where that is no help.
	Instead *securityv1.PeerAuthentication `json:"-"`
	// Generated: Trellis made the object for an Application, of which the fix is.
	Generated bool `json:"-"`
}

// refusals are why the stage's object would not decide (ComposePeerAuthentication in
// pilot/pkg/security/authn/policy_applier.go): of each workload the narrowest
// PeerAuthentication does, and of two on one level the older one.
func (f *finder) refusals(stage *Stage, nodes []xds.Node) []Refusal {
	if stage.Namespace == f.Policies.Root() {
		return []Refusal{inRoot(stage)}
	}
	found := map[*securityv1.PeerAuthentication]Refusal{}
	if there := f.Policies.Authentication(nameOf(stage.Object)); there != nil && !ours(there) {
		found[there] = taken(there)
	}
	for _, n := range nodes {
		p, says := f.decides(stage.Kind, n)
		if p == nil {
			continue
		}
		if _, known := found[p]; !known {
			found[p] = f.refusal(stage, p, says)
		}
	}
	out := slices.Collect(maps.Values(found))
	slices.SortFunc(out, func(a, b Refusal) int { return strings.Compare(a.Object, b.Object) })
	return out
}

// decides finds the PeerAuthentication of somebody else that has a workload take
// plaintext also when the stage is made, and what it says; nil: there is none.
func (f *finder) decides(kind v1alpha1.RolloutStageKind, n xds.Node) (p *securityv1.PeerAuthentication, says string) {
	for _, trace := range f.traces(n) {
		if trace.Mode == resolve.Strict {
			continue
		}
		p := trace.Counts(resolve.WorkloadLevel)
		if inherited := trace.Level != resolve.WorkloadLevel && trace.Level != resolve.PortLevel; inherited && kind == v1alpha1.StageNamespace {
			p = trace.Counts(resolve.NamespaceLevel)
		}
		if p != nil && !ours(p) {
			return p, said(trace)
		}
	}
	return nil, ""
}

// said is the mode of a trace, as its policy says it.
func said(t *resolve.ModeTrace) string {
	switch t.Level {
	case resolve.PortLevel:
		return fmt.Sprintf("says %s for port %d", t.Mode, t.Port)
	case resolve.WorkloadLevel, resolve.NamespaceLevel:
		return fmt.Sprintf("says %s", t.Mode)
	}
	return fmt.Sprintf("says no mode, so that %s is inherited", t.Mode)
}

func (f *finder) refusal(stage *Stage, p *securityv1.PeerAuthentication, says string) Refusal {
	out := Refusal{Object: objectOf(p), Instead: tightened(p)}
	const first = "of two on one level Istio takes the older one, so that the stage's own would have no effect"
	switch {
	case stage.Kind == v1alpha1.StageService:
		out.Message = "it selects workloads of the stage and " + says + ": " + first
	case len(p.Spec.GetSelector().GetMatchLabels()) == 0:
		out.Message = "it is for the whole namespace and " + says + ": " + first
	default:
		out.Message = fmt.Sprintf("it is for single workloads of the namespace (%s) and %s, and decides before one for the whole namespace",
			Labels(p.Spec.GetSelector().GetMatchLabels()), says)
	}
	if owner := f.Owner(p); owner != "" {
		out.Generated = true
		out.Message = "Trellis made it for " + owner + "; " + out.Message
		out.Fix = "set access.mutualTLS of " + owner + " to Strict"
		return out
	}
	out.Fix = "set " + out.Object + " to STRICT"
	if ports := weakPorts(p); len(ports) > 0 {
		out.Fix += fmt.Sprintf(", and take port %s out of its portLevelMtls", strings.Join(ports, ", "))
	}
	return out
}

// taken is about an object that has the name of the stage's own.
func taken(p *securityv1.PeerAuthentication) Refusal {
	return Refusal{
		Object:  objectOf(p),
		Message: fmt.Sprintf("it has the name that the stage's own would have, and not its label %s=%s: somebody else made it", managedBy, v1alpha1.RolloutManager),
		Fix:     "delete " + objectOf(p) + ", or give it another name",
	}
}

// inRoot is about the root namespace, where no PeerAuthentication is for it alone.
func inRoot(stage *Stage) Refusal {
	out := Refusal{Object: "namespace " + stage.Namespace, Fix: "leave namespace " + stage.Namespace + " out, or make the whole mesh STRICT there by a PeerAuthentication without a selector"}
	out.Message = "it is the root namespace of the mesh, where a PeerAuthentication for single workloads has no effect"
	if stage.Kind == v1alpha1.StageNamespace {
		out.Message = "it is the root namespace of the mesh, where a PeerAuthentication for the whole namespace is one for the whole mesh"
	}
	return out
}

// unmoved is about a stage that changes nothing, though no PeerAuthentication is in its
// way.
func unmoved(stage *Stage) Refusal {
	return Refusal{
		Object:  objectOf(stage.Object),
		Message: "with it the workloads would go on taking plaintext at all ports: something else than PeerAuthentications decides",
		Fix:     "look for EnvoyFilters, for Sidecars with ingress, and for ports that the workloads' proxies leave out (traffic.sidecar.istio.io/excludeInboundPorts)",
	}
}

func objectOf(p *securityv1.PeerAuthentication) string {
	return "PeerAuthentication " + full(nameOf(p))
}

// tightened is a policy that takes mutual TLS only.
func tightened(p *securityv1.PeerAuthentication) *securityv1.PeerAuthentication {
	out := p.DeepCopy()
	out.APIVersion, out.Kind = "security.istio.io/v1", "PeerAuthentication"
	out.Spec.Mtls = strict.DeepCopy()
	for port, m := range out.Spec.GetPortLevelMtls() {
		if weak(m) {
			delete(out.Spec.GetPortLevelMtls(), port)
		}
	}
	if len(out.Spec.GetPortLevelMtls()) == 0 {
		out.Spec.PortLevelMtls = nil // Istio refuses an empty one
	}
	return out
}

func weak(m *securityapi.PeerAuthentication_MutualTLS) bool {
	return m.GetMode() == securityapi.PeerAuthentication_MutualTLS_PERMISSIVE || m.GetMode() == securityapi.PeerAuthentication_MutualTLS_DISABLE
}

func weakPorts(p *securityv1.PeerAuthentication) []string {
	var out []string
	for _, port := range slices.Sorted(maps.Keys(p.Spec.GetPortLevelMtls())) {
		if weak(p.Spec.GetPortLevelMtls()[port]) {
			out = append(out, fmt.Sprint(port))
		}
	}
	return out
}
