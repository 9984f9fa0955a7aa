// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/inforce"
)

// source says what a watch is about.
type source struct {
	// name is the CRD's, or for people.
	name   string
	object runtime.Object
	list   func() client.ObjectList
	// namespace, fields and labels narrow it down.
	namespace string
	fields    fields.Selector
	labels    labels.Selector
}

const definitions = "customresourcedefinitions"

// required are definitions without which nothing can be said.
var required = []string{
	"applications.trellis.dev", "secureingresses.trellis.dev", "hostclaims.trellis.dev",
	"gateways.networking.istio.io", "virtualservices.networking.istio.io", "authorizationpolicies.security.istio.io",
	"requestauthentications.security.istio.io", "peerauthentications.security.istio.io",
	"goals.trellis.dev", policyTemplates, "clusterpolicybindings.trellis.dev", "policybindings.trellis.dev", policyExceptions,
}

// Kinds that are asked for by name.
const (
	policyTemplates  = "policytemplates.trellis.dev"
	policyExceptions = "policyexceptions.trellis.dev"
)

// meshConfig is the name of the watch of Istio's mesh configuration.
func (o Options) meshConfig() string { return "configmap " + o.IstiodNamespace + "/" + o.MeshConfigMap }

// builtIn are the sources that every API server has.
func builtIn(o Options) []source {
	crds := schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crds)
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	return []source{
		{name: definitions, object: crd, list: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(crds.GroupVersion().WithKind(crds.Kind + "List"))
			return list
		}},
		{name: "namespaces", object: &corev1.Namespace{}, list: func() client.ObjectList { return &corev1.NamespaceList{} }},
		{name: "services", object: &corev1.Service{}, list: func() client.ObjectList { return &corev1.ServiceList{} }},
		{name: "pods", object: &corev1.Pod{}, list: func() client.ObjectList { return &corev1.PodList{} }, fields: running},
		{name: "endpointslices", object: &discoveryv1.EndpointSlice{}, list: func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, labels: byHand},
		{name: "ingresses", object: &networkv1.Ingress{}, list: func() client.ObjectList { return &networkv1.IngressList{} }},
		{name: "ingressclasses", object: &networkv1.IngressClass{}, list: func() client.ObjectList { return &networkv1.IngressClassList{} }},
		{name: "controllerrevisions", object: &appsv1.ControllerRevision{}, list: func() client.ObjectList { return &appsv1.ControllerRevisionList{} },
			labels: labels.SelectorFromSet(labels.Set{inforce.LabelRecord: inforce.RecordOf})},
		{name: o.meshConfig(), object: &corev1.ConfigMap{},
			list:      func() client.ObjectList { return &corev1.ConfigMapList{} },
			namespace: o.IstiodNamespace, fields: fields.OneTermEqualSelector("metadata.name", o.MeshConfigMap)},
	}
}

// byHand selects EndpointSlices that do not follow from Services and pods: which of
// the others there are changes with every pod, and they are made anew from the
// pods.
var byHand = func() labels.Selector {
	follows, err := labels.NewRequirement(discoveryv1.LabelManagedBy, selection.NotIn, []string{"endpointslice-controller.k8s.io"})
	if err != nil {
		panic(err) // constants
	}
	return labels.NewSelector().Add(*follows)
}()

// custom are the kinds that CRDs define and that change what a proxy gets, in the
// versions in which Istio reads them.
func custom() []source {
	out := []source{
		{name: "applications.trellis.dev", object: &v1alpha1.Application{}, list: func() client.ObjectList { return &v1alpha1.ApplicationList{} }},
		{name: "secureingresses.trellis.dev", object: &v1alpha1.SecureIngress{}, list: func() client.ObjectList { return &v1alpha1.SecureIngressList{} }},
		{name: "hostclaims.trellis.dev", object: &v1alpha1.HostClaim{}, list: func() client.ObjectList { return &v1alpha1.HostClaimList{} }},
		{name: "managedcertificates.trellis.dev", object: &v1alpha1.ManagedCertificate{}, list: func() client.ObjectList { return &v1alpha1.ManagedCertificateList{} }},
		{name: "mutualtlsrollouts.trellis.dev", object: &v1alpha1.MutualTLSRollout{}, list: func() client.ObjectList { return &v1alpha1.MutualTLSRolloutList{} }},
		{name: "goals.trellis.dev", object: &v1alpha1.Goal{}, list: func() client.ObjectList { return &v1alpha1.GoalList{} }},
		{name: policyTemplates, object: &v1alpha1.PolicyTemplate{}, list: func() client.ObjectList { return &v1alpha1.PolicyTemplateList{} }},
		{name: "clusterpolicybindings.trellis.dev", object: &v1alpha1.ClusterPolicyBinding{}, list: func() client.ObjectList { return &v1alpha1.ClusterPolicyBindingList{} }},
		{name: "policybindings.trellis.dev", object: &v1alpha1.PolicyBinding{}, list: func() client.ObjectList { return &v1alpha1.PolicyBindingList{} }},
		{name: policyExceptions, object: &v1alpha1.PolicyException{}, list: func() client.ObjectList { return &v1alpha1.PolicyExceptionList{} }},
	}
	for _, k := range []struct{ group, version, kind, resource string }{
		{"networking.istio.io", "v1", "Gateway", "gateways"},
		{"networking.istio.io", "v1", "VirtualService", "virtualservices"},
		{"networking.istio.io", "v1", "DestinationRule", "destinationrules"},
		{"networking.istio.io", "v1", "ServiceEntry", "serviceentries"},
		{"networking.istio.io", "v1", "Sidecar", "sidecars"},
		{"networking.istio.io", "v1", "WorkloadEntry", "workloadentries"},
		{"networking.istio.io", "v1", "WorkloadGroup", "workloadgroups"},
		{"networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters"},
		{"networking.istio.io", "v1beta1", "ProxyConfig", "proxyconfigs"},
		{"security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"},
		{"security.istio.io", "v1", "RequestAuthentication", "requestauthentications"},
		{"security.istio.io", "v1", "PeerAuthentication", "peerauthentications"},
		{"telemetry.istio.io", "v1", "Telemetry", "telemetries"},
		{"extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins"},
		{"gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses"},
		{"gateway.networking.k8s.io", "v1", "Gateway", "gateways"},
		{"gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"},
		{"gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"},
		{"gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants"},
	} {
		gvk := schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.kind}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(gvk)
		out = append(out, source{name: k.resource + "." + k.group, object: object, list: func() client.ObjectList {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
			return list
		}})
	}
	return out
}
