// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"

	"github.com/trellis-mesh/trellis/internal/parallel"
)

// resources are those of the kinds that statements and policies are made in.
var resources = map[string]schema.GroupResource{
	"Application":           {Group: v1alpha1.GroupName, Resource: "applications"},
	"SecureIngress":         {Group: v1alpha1.GroupName, Resource: "secureingresses"},
	"HostClaim":             {Group: v1alpha1.GroupName, Resource: "hostclaims"},
	"Goal":                  {Group: v1alpha1.GroupName, Resource: "goals"},
	"PolicyTemplate":        {Group: v1alpha1.GroupName, Resource: "policytemplates"},
	"ClusterPolicyBinding":  {Group: v1alpha1.GroupName, Resource: "clusterpolicybindings"},
	"PolicyBinding":         {Group: v1alpha1.GroupName, Resource: "policybindings"},
	"PolicyException":       {Group: v1alpha1.GroupName, Resource: "policyexceptions"},
	"AuthorizationPolicy":   {Group: "security.istio.io", Resource: "authorizationpolicies"},
	"RequestAuthentication": {Group: "security.istio.io", Resource: "requestauthentications"},
	"PeerAuthentication":    {Group: "security.istio.io", Resource: "peerauthentications"},
	"Gateway":               {Group: "networking.istio.io", Resource: "gateways"},
	"VirtualService":        {Group: "networking.istio.io", Resource: "virtualservices"},
	"DestinationRule":       {Group: "networking.istio.io", Resource: "destinationrules"},
	"EnvoyFilter":           {Group: "networking.istio.io", Resource: "envoyfilters"},
	"Sidecar":               {Group: "networking.istio.io", Resource: "sidecars"},
	"ServiceEntry":          {Group: "networking.istio.io", Resource: "serviceentries"},
}

// editing are the verbs of which one is enough: kubectl edit and apply patch.
var editing = []string{"patch", "update"}

// rights implements mesh.Rights: every verb on every object is asked about once at
// most.
func (a *api) rights(ctx context.Context, objects []string) ([]*bool, error) {
	out, errs := make([]*bool, len(objects)), make([]error, len(objects))
	first := make(map[string]int, len(objects))
	var distinct []int
	for i, object := range objects {
		if _, asked := first[object]; !asked {
			first[object] = i
			distinct = append(distinct, i)
		}
	}
	a.waiting.say("asking what you may change")
	defer a.waiting.stop()
	parallel.Each(len(distinct), atOnce, func(n int) { out[distinct[n]], errs[distinct[n]] = a.mayEdit(ctx, objects[distinct[n]]) })
	for i, object := range objects {
		out[i] = out[first[object]]
	}
	return out, errors.Join(errs...)
}

// mayEdit is nil for an object of a kind that is not known.
func (a *api) mayEdit(ctx context.Context, object string) (*bool, error) {
	kind, name, _ := strings.Cut(object, " ")
	resource, ok := resources[kind]
	if !ok || name == "" {
		return nil, nil
	}
	namespace, name, namespaced := strings.Cut(name, "/")
	if !namespaced {
		namespace, name = "", namespace
	}
	allowed := false
	for _, verb := range editing {
		yes, err := a.may(ctx, authorizationv1.ResourceAttributes{
			Verb: verb, Group: resource.Group, Resource: resource.Resource, Namespace: namespace, Name: name,
		})
		if err != nil {
			return nil, err
		}
		if yes {
			allowed = true
			break
		}
	}
	return &allowed, nil
}
