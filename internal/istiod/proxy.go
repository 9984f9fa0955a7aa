// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"strings"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
)

// resourceType is one kind of xDS resource.
type resourceType string

const (
	listeners resourceType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routes    resourceType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	clusters  resourceType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
)

// String is the word that people know it by.
func (t resourceType) String() string {
	switch t {
	case listeners:
		return "listeners"
	case routes:
		return "routes"
	case clusters:
		return "clusters"
	}
	return string(t)
}

// sentState is what istiod knows of one resource type of one proxy.
type sentState struct {
	// acked: the proxy has acknowledged what it was sent last.
	acked bool
	// sent is when that was, by istiod's clock; zero when nothing was sent.
	sent time.Time
	// problem is what the proxy answered when it refused what it was sent.
	problem string
}

// proxyState is one connection of a proxy to a replica.
type proxyState struct {
	// node is how istiod names it: POD.NAMESPACE.
	node      string
	name      string
	namespace string
	types     map[resourceType]sentState
}

// readProxyState leaves out what is not named like a pod.
func readProxyState(client *statusv3.ClientConfig) (proxyState, bool) {
	node := client.GetNode().GetId()
	// A pod's name may have dots, a namespace's may not.
	dot := strings.LastIndex(node, ".")
	if dot < 0 {
		return proxyState{}, false
	}
	state := proxyState{
		node: node, name: node[:dot], namespace: node[dot+1:],
		types: make(map[resourceType]sentState, len(client.GetGenericXdsConfigs())),
	}
	for _, x := range client.GetGenericXdsConfigs() {
		sent := sentState{acked: x.GetConfigStatus() == statusv3.ConfigStatus_SYNCED}
		if x.GetConfigStatus() != statusv3.ConfigStatus_NOT_SENT {
			sent.sent = x.GetLastUpdated().AsTime()
		}
		sent.problem = x.GetErrorState().GetDetails()
		state.types[resourceType(x.GetTypeUrl())] = sent
	}
	return state, true
}

// newest is when anything of the given types was last sent.
func (p proxyState) newest() time.Time {
	var newest time.Time
	for _, t := range []resourceType{listeners, routes, clusters} {
		if s := p.types[t].sent; s.After(newest) {
			newest = s
		}
	}
	return newest
}
