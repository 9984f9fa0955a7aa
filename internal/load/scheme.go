// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
)

const (
	networkingGroup = "networking.istio.io"
	securityGroup   = "security.istio.io"
)

// AddToScheme registers every kind that Builder.Add reads. Istio's older
// versions are registered as the same Go types: they differ in nothing but
// their name.
func AddToScheme(scheme *runtime.Scheme) error {
	builder := runtime.NewSchemeBuilder(
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
		networkingv1.AddToScheme, securityv1.AddToScheme,
		v1alpha1.AddToScheme,
	)
	if err := builder.AddToScheme(scheme); err != nil {
		return err
	}
	for _, version := range []string{"v1beta1", "v1alpha3"} {
		scheme.AddKnownTypes(schema.GroupVersion{Group: networkingGroup, Version: version},
			&networkingv1.Gateway{}, &networkingv1.VirtualService{},
			&networkingv1.DestinationRule{}, &networkingv1.WorkloadEntry{},
			&networkingv1.Sidecar{}, &networkingv1.ServiceEntry{})
	}
	scheme.AddKnownTypes(schema.GroupVersion{Group: securityGroup, Version: "v1beta1"},
		&securityv1.AuthorizationPolicy{}, &securityv1.RequestAuthentication{}, &securityv1.PeerAuthentication{})
	return nil
}
