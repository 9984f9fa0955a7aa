// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package intent

import (
	"fmt"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/model"
)

// otherSettings are what others say of mutual TLS.
type otherSettings struct {
	// modes are those of whole namespaces. Of several of one namespace the first
	// in order counts.
	modes map[string]string
	// workloads are the settings for some pods of a namespace.
	workloads map[string][]model.Foreign
	// clients are the DestinationRules, by host.
	clients map[string]model.Reference
}

func newOtherSettings(s *model.Snapshot) otherSettings {
	x := otherSettings{make(map[string]string), make(map[string][]model.Foreign), make(map[string]model.Reference)}
	for _, f := range s.Foreign("PeerAuthentication") {
		namespace := f.Ref.Namespace
		switch {
		case len(f.Selector) > 0:
			x.workloads[namespace] = append(x.workloads[namespace], f)
		case f.Mode != "" && f.Mode != "UNSET" && x.modes[namespace] == "":
			x.modes[namespace] = f.Mode
		}
	}
	for _, f := range s.Foreign("DestinationRule") {
		for _, host := range f.Hosts {
			if _, ok := x.clients[host]; !ok {
				x.clients[host] = f.Ref
			}
		}
	}
	return x
}

// resolveMutualTLS looks at what clients of the Application do by themselves.
func (r *resolver) resolveMutualTLS(a *Application) {
	at := field(a.Origin, "spec.access.mutualTLS")
	if a.mutualTLS() != "" {
		r.checkOtherPeers(a, at)
		a.ClientMutualTLS = r.clientsNeedTelling(a, at)
		return
	}
	if mode, where := r.inheritedMode(a); mode == "DISABLE" {
		r.warn(at, refusal{"MutualTLSDisabled",
			fmt.Sprintf("mutual TLS is not stated here and is turned off in namespace %s, so the workload sees no identities: whoever needs one to call is refused, gateways included", where),
			"PeerAuthentication in namespace " + where, "set access.mutualTLS: Strict or Permissive here, or ask the platform to turn mutual TLS on"})
	}
}

func (a *Application) mutualTLS() v1alpha1.MutualTLSMode {
	if a.Spec.Access == nil {
		return ""
	}
	return a.Spec.Access.MutualTLS
}

// inheritedMode is the setting of the namespace, or else of the mesh, and where
// it is.
func (r *resolver) inheritedMode(a *Application) (mode, namespace string) {
	if m := r.others.modes[a.Ref.Namespace]; m != "" {
		return m, a.Ref.Namespace
	}
	root := r.snapshot.Mesh().RootNamespace
	return r.others.modes[root], root
}

// clientsNeedTelling reports whether Istio's automatic mutual TLS would leave
// clients of a workload on plaintext: it looks at the namespace's and the mesh's
// setting alone (pilot, BestEffortInferServiceMTLSMode), and without it callers
// have no identity. A DestinationRule of somebody else for the same host is
// theirs to change.
func (r *resolver) clientsNeedTelling(a *Application, at model.Origin) bool {
	mesh := r.snapshot.Mesh()
	if mode, _ := r.inheritedMode(a); mesh.AutoMutualTLS && mode != "DISABLE" {
		return false
	}
	f, ok := r.others.clients[a.ServiceHost(mesh)]
	if !ok {
		// A short name is one of the DestinationRule's own namespace.
		f, ok = r.others.clients[a.Spec.Service]
		ok = ok && f.Namespace == a.Ref.Namespace
	}
	if !ok {
		return true
	}
	r.warn(at, refusal{"ForeignDestinationRule",
		fmt.Sprintf("clients would not use mutual TLS by themselves, and %s decides for them", f),
		f.String(), "set trafficPolicy.tls.mode: ISTIO_MUTUAL there"})
	return false
}

func otherPeerFix(a *Application) string {
	if a.MutualTLSOrigin != nil {
		return "delete that PeerAuthentication; mutual TLS is asked for by " + a.MutualTLSOrigin.Object.String()
	}
	return "delete that PeerAuthentication, or leave mutualTLS out here"
}

// checkOtherPeers refuses a second setting for the same pods: the older one
// holds, whichever that is.
func (r *resolver) checkOtherPeers(a *Application, at model.Origin) {
	for _, f := range r.others.workloads[a.Ref.Namespace] {
		shared := model.Selects(f.Selector, a.Pods.Selector)
		for _, w := range r.snapshot.Selected(a.Ref.Namespace, a.Pods.Selector) {
			shared = shared || model.Selects(f.Selector, w.Labels)
		}
		if shared {
			r.refuse(at, refusal{"Conflicted",
				fmt.Sprintf("%s states %s for the same pods; of two settings Istio takes the older one, so what is stated here may not hold", f.Ref, f.Mode),
				f.Ref.String(), otherPeerFix(a)})
		}
	}
}
