// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"fmt"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/serviceregistry/aggregate"
	kube "istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	pilotxds "istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/kind"
	kubeclient "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/test"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// defaultDomain is the DNS suffix of Services that Istio's server in this process has.
const defaultDomain = "cluster.local"

// inDomain gives a server another registry of Kubernetes' Services, in which these have
// the suffix of the mesh: istiod swaps registries in this way where the credentials of a
// cluster change. The server ends it with stop.
func inDomain(t test.Failer, s *pilotxds.FakeDiscoveryServer, in *gathered, id string, stop chan struct{}) {
	registries, ok := s.Env().ServiceDiscovery.(*aggregate.Controller)
	if !ok {
		t.Fatal(fmt.Sprintf("keeping Services below %s: the registry is a %T", in.domain, s.Env().ServiceDiscovery))
		return
	}
	changed := func(_, service *model.Service, _ model.Event) {
		key := model.ConfigKey{Kind: kind.ServiceEntry, Name: string(service.Hostname), Namespace: service.Attributes.Namespace}
		s.Discovery.ConfigUpdate(&model.PushRequest{ConfigsUpdated: map[model.ConfigKey]struct{}{key: {}}, Reason: model.NewReasonStats(model.ServiceUpdate)})
	}
	own, _ := kube.NewFakeControllerWithOptions(guest{t}, kube.FakeControllerOptions{
		Client: s.KubeClient(), ClusterID: cluster.ID(id), DomainSuffix: in.domain, ConfigCluster: true, ServiceHandler: changed,
		XDSUpdater: s.Discovery, NetworksWatcher: meshwatcher.NewFixedNetworksWatcher(in.networks),
		MeshWatcher: meshwatcher.NewTestWatcher(in.mesh), Stop: stop, SkipRun: true,
	})
	s.ServiceEntryRegistry.AppendWorkloadHandler(own.WorkloadInstanceHandler)
	own.AppendWorkloadHandler(s.ServiceEntryRegistry.WorkloadInstanceHandler)
	go own.Run(stop)
	kubeclient.WaitForCacheSync("registry of another domain", stop, own.HasSynced)
	registries.UpdateRegistry(own, stop)
	s.KubeRegistry = own
	s.Discovery.ConfigUpdate(&model.PushRequest{Forced: true})
}

// guest is for what ends with the server: its clean-up waits for the client of both,
// which works until the server has ended.
type guest struct{ test.Failer }

// Cleanup implements test.Failer.
func (guest) Cleanup(func()) {}

// elsewhere are the kinds whose Services Istio's server looks for below its own suffix.
var elsewhere = map[string]bool{
	"Ingress": true, "HTTPRoute": true, "GRPCRoute": true, "TCPRoute": true, "TLSRoute": true,
}

// doubtDomain notes an object whose Services would not be found in another domain.
func (g *gathered) doubtDomain(kind, where string) {
	if g.domain == defaultDomain || !elsewhere[kind] {
		return
	}
	g.problems = append(g.problems, xds.Problem{Kind: xds.Unresolved, Type: kind, Resource: where, Detail: fmt.Sprintf(
		"Istio's server in this process looks for Services of this kind below %s, and those of the mesh are below %s", defaultDomain, g.domain)})
}
