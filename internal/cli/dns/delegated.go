// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/internal/cli/cluster"
	engine "github.com/trellis-mesh/trellis/internal/dns"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// HandedOver is the phase of what ExternalDNS has read. It never says more.
const HandedOver = "HandedOver"

// delegated gives what ExternalDNS is asked to write to visit.
func delegated(ctx context.Context, c *cluster.Cluster, visit func(Record)) error {
	return cluster.EachDelegated(ctx, c, delegation.EndpointKind, func(u *unstructured.Unstructured) {
		e := &delegation.DNSEndpoint{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, e); err != nil {
			e = &delegation.DNSEndpoint{}
			e.Name, e.Namespace, e.Generation = u.GetName(), u.GetNamespace(), u.GetGeneration()
		}
		visit(byExternalDNS(e))
	})
}

func byExternalDNS(e *delegation.DNSEndpoint) Record {
	out := Record{Namespace: e.Namespace, Record: e.Name, Name: e.Name, Provider: "ExternalDNS", Phase: Unseen}
	for _, endpoint := range e.Spec.Endpoints {
		out.Name = endpoint.DNSName
		out.LeadsTo = append(out.LeadsTo, endpoint.Targets...)
	}
	switch seen := e.Status.ObservedGeneration; {
	case len(e.Spec.Endpoints) == 0:
		out.Phase, out.Message = string(engine.PhaseHeld), "the load balancer has no address yet, so there is nothing to hand over"
	case seen == 0:
		out.Message = "ExternalDNS has not read it; does it run with --source=crd?"
	case seen < e.Generation:
		out.Message = fmt.Sprintf("ExternalDNS has read generation %d of %d", seen, e.Generation)
	default:
		out.Phase, out.Message = HandedOver, fmt.Sprintf("ExternalDNS has read generation %d; it does not say what became of it", seen)
	}
	out.said = out.Message
	return out
}
