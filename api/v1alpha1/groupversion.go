// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind that people write for Trellis.
const GroupName = "trellis.dev"

// GroupVersion is the group and version of the types in this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme registers the types of this package with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&Application{}, &ApplicationList{},
		&SecureIngress{}, &SecureIngressList{},
		&HostClaim{}, &HostClaimList{},
		&DNSProvider{}, &DNSProviderList{},
		&ManagedRecord{}, &ManagedRecordList{},
		&ManagedCertificate{}, &ManagedCertificateList{},
		&MutualTLSRollout{}, &MutualTLSRolloutList{},
		&Goal{}, &GoalList{},
		&PolicyTemplate{}, &PolicyTemplateList{},
		&ClusterPolicyBinding{}, &ClusterPolicyBindingList{},
		&PolicyBinding{}, &PolicyBindingList{},
		&PolicyException{}, &PolicyExceptionList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
