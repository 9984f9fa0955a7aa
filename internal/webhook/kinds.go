// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

// kinds are those that are judged, each with an empty object of it. Goals are not among
// them: nothing is compiled from one, and its schema says all that is to be said.
var kinds = map[string]func() client.Object{
	"Application":          func() client.Object { return &v1alpha1.Application{} },
	"ClusterPolicyBinding": func() client.Object { return &v1alpha1.ClusterPolicyBinding{} },
	"HostClaim":            func() client.Object { return &v1alpha1.HostClaim{} },
	"PolicyBinding":        func() client.Object { return &v1alpha1.PolicyBinding{} },
	"PolicyException":      func() client.Object { return &v1alpha1.PolicyException{} },
	"PolicyTemplate":       func() client.Object { return &v1alpha1.PolicyTemplate{} },
	"SecureIngress":        func() client.Object { return &v1alpha1.SecureIngress{} },
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

func decodeOne(kind string, raw []byte) (client.Object, error) {
	empty := kinds[kind]
	if empty == nil {
		return nil, fmt.Errorf("reading the object: kind %q is not one of Trellis", kind)
	}
	object := empty()
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return object, nil
}

// statement is what is judged of an object: the spec and, of an Application, the labels,
// by which policies choose.
func statement(object client.Object) any {
	switch o := object.(type) {
	case *v1alpha1.Application:
		return struct {
			Spec   v1alpha1.ApplicationSpec
			Labels map[string]string
		}{o.Spec, o.Labels}
	case *v1alpha1.ClusterPolicyBinding:
		return o.Spec
	case *v1alpha1.HostClaim:
		return o.Spec
	case *v1alpha1.PolicyBinding:
		return o.Spec
	case *v1alpha1.PolicyException:
		return o.Spec
	case *v1alpha1.PolicyTemplate:
		return o.Spec
	case *v1alpha1.SecureIngress:
		return o.Spec
	}
	return nil
}
