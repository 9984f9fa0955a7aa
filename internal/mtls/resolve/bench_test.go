// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"testing"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

// BenchmarkAllPairs asks for 300 clients and 300 services, of 30 namespaces with rules of
// all sorts.
func BenchmarkAllPairs(b *testing.B) {
	const namespaces, each = 30, 10
	in := resolve.Input{}
	var services []resolve.Service
	var workloads []resolve.Workload
	in.DestinationRules = append(in.DestinationRules, rule("istio-system/mesh", 0, "*.local", tls("ISTIO_MUTUAL")))
	in.PeerAuthentications = append(in.PeerAuthentications, accept("istio-system/mesh", 0, "", "STRICT"))
	for n := range namespaces {
		namespace := fmt.Sprintf("n%d", n)
		if n%5 == 0 {
			in.DestinationRules = append(in.DestinationRules, rule(namespace+"/all", 0, "*.n1.svc.cluster.local", exportTo(".")))
		}
		in.PeerAuthentications = append(in.PeerAuthentications, accept(namespace+"/all", 0, "", "PERMISSIVE"))
		for i := range each {
			app := fmt.Sprintf("s%d", i)
			services = append(services, resolve.Service{Host: app + "." + namespace + ".svc.cluster.local", Namespace: namespace})
			workloads = append(workloads, resolve.Workload{Namespace: namespace, Labels: map[string]string{"app": app}})
			in.DestinationRules = append(in.DestinationRules, rule(namespace+"/"+app, 0, app, tls("ISTIO_MUTUAL"), subset("v1", "")))
			in.PeerAuthentications = append(in.PeerAuthentications, accept(namespace+"/"+app, 0, app, "STRICT", "DISABLE"))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r := resolve.New(in)
		strict := 0
		for _, client := range workloads {
			for i, service := range services {
				trace := r.DestinationRule(resolve.Client{Namespace: client.Namespace, Labels: client.Labels}, service)
				if trace.Rule != nil && r.PeerAuthentication(workloads[i], 80).Mode == resolve.Strict {
					strict++
				}
			}
		}
		if strict == 0 {
			b.Fatal("nothing is found")
		}
	}
}
