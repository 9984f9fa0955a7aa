// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/catalog"
)

// Change is what somebody does to a platform. It changes the objects that it is given.
type Change func(objects []client.Object) ([]client.Object, error)

// WriteChanged writes what a change makes of a platform, which stays as it is.
func WriteChanged(path string, objects []client.Object, change Change) error {
	own := make([]client.Object, 0, len(objects))
	for _, object := range objects {
		if copied, ok := object.DeepCopyObject().(client.Object); ok {
			own = append(own, copied)
		}
	}
	own, err := change(own)
	if err != nil {
		return err
	}
	return WriteFile(path, own)
}

// OpenRoute lets requests to one route of one Application in without a token.
func OpenRoute(objects []client.Object) ([]client.Object, error) {
	app, err := first(objects)
	if err == nil {
		app.Spec.Routes[1].Authentication = &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}
	}
	return objects, err
}

// StateCall has one Application state that it calls one host outside of the mesh, and nobody
// else.
func StateCall(objects []client.Object) ([]client.Object, error) {
	app, err := first(objects)
	if err == nil {
		app.Spec.Access.Calls = []v1alpha1.Call{{Name: "api", Peer: v1alpha1.Callee{
			External: &v1alpha1.ExternalPeer{Hosts: []v1alpha1.ExternalHost{"api.example.com"}, Port: 443, Protocol: v1alpha1.ExternalProtocolHTTPS},
		}}}
	}
	return objects, err
}

// LimitEgress has a policy of the catalog keep all Applications from hosts outside of the mesh
// but one.
func LimitEgress(objects []client.Object) ([]client.Object, error) {
	entries, err := catalog.Embedded()
	if err != nil {
		return nil, err
	}
	r := rule{"egress-to-listed-hosts", v1alpha1.ModeEnforce, v1alpha1.TierMandatory, map[string]string{"hosts": `["api.example.com"]`}}
	for _, e := range entries {
		if e.Name() == r.policy {
			return append(objects, e.Template, r.binding(0, e.Template.Spec.Version)), nil
		}
	}
	return nil, fmt.Errorf("binding policy %s: the catalog has none of that name", r.policy)
}

func first(objects []client.Object) (*v1alpha1.Application, error) {
	for _, object := range objects {
		if app, ok := object.(*v1alpha1.Application); ok {
			return app, nil
		}
	}
	return nil, fmt.Errorf("changing an Application: there is none")
}
