// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/generator"
)

// Istio's server is ready before it has joined all EndpointSlices with their pods; with
// others beside it, the more so.
func TestEveryClusterNamesTheAccountsOfItsPods(t *testing.T) {
	const services = 300
	objects := append(fleet(services), &networkingv1.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-0", Name: "legacy"},
		Spec: networkingapi.ServiceEntry{
			Hosts: []string{"legacy.example.com"}, Resolution: networkingapi.ServiceEntry_STATIC, Location: networkingapi.ServiceEntry_MESH_INTERNAL,
			Ports:            []*networkingapi.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP"}},
			WorkloadSelector: &networkingapi.WorkloadSelector{Labels: map[string]string{"app": "app-7"}},
		},
	})
	want := map[string]string{"outbound|80||legacy.example.com": "team-0/sa/app-7"}
	for i := range services {
		want[fmt.Sprintf("outbound|80||app-%d.team-%d.svc.cluster.local", i, i/10)] = fmt.Sprintf("team-%d/sa/app-%d", i/10, i)
	}
	configs := make([]*xds.Config, 6)
	var all sync.WaitGroup
	for i := range configs {
		all.Go(func() {
			_, mesh := start(t, generator.Input{Objects: objects, FromFiles: true})
			config, err := mesh.Config(t.Context(), mesh.Nodes()[0])
			if err != nil {
				t.Error(err)
			}
			configs[i] = config
		})
	}
	all.Wait()
	for i, config := range configs {
		for cluster, account := range want {
			c, ok := config.Cluster(cluster)
			if !ok || !strings.Contains(c.String(), "spiffe://cluster.local/ns/"+account+`"`) {
				t.Errorf("server %d: cluster %s does not name %s", i, cluster, account)
			}
			if assignment, _ := config.Endpoints(cluster); len(assignment.GetEndpoints()) == 0 {
				t.Errorf("server %d: cluster %s has no endpoints", i, cluster)
			}
		}
		if _, ok := config.Cluster("outbound|1||last.trellis.invalid"); ok {
			t.Errorf("server %d: the last pod is seen", i)
		}
	}
}
