// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// joiners are the watches that entries of access logs are joined by, beside that of Istio's
// mesh configuration.
var joiners = []string{
	"applications.trellis.dev", "authorizationpolicies.security.istio.io", "requestauthentications.security.istio.io", "peerauthentications.security.istio.io",
	"virtualservices.networking.istio.io", "sidecars.networking.istio.io", "envoyfilters.networking.istio.io", "workloadentries.networking.istio.io", "pods",
}

func (o *Observer) joins(name string) bool {
	return slices.Contains(joiners, name) || name == o.options.meshConfig()
}

// JoinedChanged is Changed of what Joined returns, and of nothing else.
func (o *Observer) JoinedChanged() <-chan struct{} { return o.follower(&o.joining) }

// Joined is what entries of access logs are joined to: what is in the cluster at this
// moment, whether Trellis made it or not. It is an error as long as something has not been
// read. ConfigMaps are not read: rules whose provenance is in one are not known.
func (o *Observer) Joined() (attribution.Input, error) {
	all, err := o.joined()
	if err != nil {
		return attribution.Input{}, err
	}
	var in attribution.Input
	var pods []*corev1.Pod
	var entries []xds.Entry
	mesh := o.options.Mesh
	for _, object := range all {
		switch object := object.(type) {
		case *v1alpha1.Application:
			in.Applications = append(in.Applications, object)
		case *corev1.Pod:
			pods = append(pods, object)
		case *networkingv1.WorkloadEntry:
			entries = append(entries, xds.Entry{Namespace: object.Namespace, Name: object.Name, Labels: object.Labels, Spec: &object.Spec})
		case *corev1.ConfigMap:
			mesh = configured(mesh, object)
		case runtime.Object:
			in.Objects = append(in.Objects, object)
		}
	}
	in.Proxies = xds.NodesOf(pods, entries, xds.Common{TrustDomain: mesh.TrustDomain, ClusterDomain: mesh.ClusterDomain, Cluster: mesh.Cluster})
	in.RootNamespace = mesh.RootNamespace
	in.TrustDomains = []string{mesh.TrustDomain}
	return in, nil
}

// joined are the objects, in no order.
func (o *Observer) joined() ([]client.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.unread(); err != nil {
		return nil, err
	}
	var all []client.Object
	for name, w := range o.watches {
		if o.joins(name) {
			all = append(all, w.objects()...)
		}
	}
	return all, nil
}

// configured is what is known of a mesh with its configuration.
func configured(mesh model.Mesh, config *corev1.ConfigMap) model.Mesh {
	b := load.NewBuilder(mesh)
	b.Add(meshConfigOf(mesh, config))
	in := b.Input()
	return in.Mesh
}
