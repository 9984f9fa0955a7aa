// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/controller/openreports"
	"github.com/trellis-mesh/trellis/internal/inforce"
	"github.com/trellis-mesh/trellis/internal/load"
)

const crdWatch = "customresourcedefinitions"

// builtIn are the sources that every API server has.
func (g *Gatherer) builtIn() []source {
	crds := schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(crds)
	// Pods that have ended are of no use to anybody here, and there may be many.
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	return []source{
		{name: "namespaces", object: &corev1.Namespace{}, list: func() client.ObjectList { return &corev1.NamespaceList{} }, strip: stripNamespace},
		{name: "services", object: &corev1.Service{}, list: func() client.ObjectList { return &corev1.ServiceList{} }, strip: stripService},
		{name: "pods", object: &corev1.Pod{}, list: func() client.ObjectList { return &corev1.PodList{} }, strip: stripPod, fields: running},
		{name: crdWatch, object: object, strip: stripName, list: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(crds.GroupVersion().WithKind(crds.Kind + "List"))
			return list
		}},
	}
}

// custom are the sources of kinds that a CRD defines, by the CRD's name. The
// kinds of Istio may come long after us.
func (g *Gatherer) custom() map[string]source {
	out := map[string]source{
		"applications.trellis.dev": {object: &v1alpha1.Application{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.ApplicationList{} }},
		"secureingresses.trellis.dev": {object: &v1alpha1.SecureIngress{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.SecureIngressList{} }},
		"hostclaims.trellis.dev": {object: &v1alpha1.HostClaim{}, strip: stripClaim(g.options.Mesh.Cluster),
			list: func() client.ObjectList { return &v1alpha1.HostClaimList{} }},
		"goals.trellis.dev": {object: &v1alpha1.Goal{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.GoalList{} }},
		policyTemplates: {object: &v1alpha1.PolicyTemplate{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.PolicyTemplateList{} }},
		clusterBindings: {object: &v1alpha1.ClusterPolicyBinding{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.ClusterPolicyBindingList{} }},
		"policybindings.trellis.dev": {object: &v1alpha1.PolicyBinding{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.PolicyBindingList{} }},
		policyExceptions: {object: &v1alpha1.PolicyException{}, strip: stripOwn,
			list: func() client.ObjectList { return &v1alpha1.PolicyExceptionList{} }},
		workloadEntries: asStored(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "WorkloadEntry"}, stripWorkloadEntry),
	}
	for _, kind := range apply.Kinds() {
		switch {
		case !kind.Custom() || kind.Role == apply.RoleClaim || kind.Foreign:
		case kind.Group == v1alpha1.GroupName:
			out[kind.CRD()] = asStored(kind.GroupVersionKind, stripManaged(g.options.Mesh.Cluster))
		default:
			out[kind.CRD()] = asStored(kind.GroupVersionKind, stripGenerated(g.options.Mesh.Cluster))
		}
	}
	for name, s := range out {
		s.name = name
		out[name] = s
	}
	return out
}

// Kinds that are asked for by name.
const (
	workloadEntries  = "workloadentries.networking.istio.io"
	policyTemplates  = "policytemplates.trellis.dev"
	policyExceptions = "policyexceptions.trellis.dev"
	clusterBindings  = "clusterpolicybindings.trellis.dev"
)

func asStored(gvk schema.GroupVersionKind, s strip) source {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gvk)
	return source{object: object, strip: s, list: func() client.ObjectList {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return list
	}}
}

func configMaps() client.ObjectList { return &corev1.ConfigMapList{} }

// meshConfig is the one ConfigMap of Istio.
func (g *Gatherer) meshConfig() source {
	return source{
		name: "configmap " + g.options.IstiodNamespace + "/" + g.options.MeshConfigMap, object: &corev1.ConfigMap{}, list: configMaps,
		strip:     stripMeshConfig(g.options.Mesh.RootNamespace),
		namespace: g.options.IstiodNamespace, fields: fields.OneTermEqualSelector("metadata.name", g.options.MeshConfigMap),
	}
}

// secret is one Secret, by name: no other is ever asked for.
func (g *Gatherer) secret(namespace, name string) source {
	return source{
		name: "secret " + namespace + "/" + name, object: &corev1.Secret{},
		list:      func() client.ObjectList { return &corev1.SecretList{} },
		strip:     stripSecret(g.options.Mesh.Cluster),
		namespace: namespace, fields: fields.OneTermEqualSelector("metadata.name", name),
	}
}

const recordsWatch = "controllerrevisions"

// inForce are the records of statements that were put in force, ours alone.
func inForce() source {
	return source{
		name: recordsWatch, object: &appsv1.ControllerRevision{}, list: func() client.ObjectList { return &appsv1.ControllerRevisionList{} },
		strip: stripRecord, labels: labels.SelectorFromSet(labels.Set{inforce.LabelRecord: inforce.RecordOf}),
	}
}

// records are the ConfigMaps of ours in a namespace of gateways.
func (g *Gatherer) recordsIn(namespace string) source {
	s := asStored(corev1.SchemeGroupVersion.WithKind("ConfigMap"), stripGenerated(g.options.Mesh.Cluster))
	s.name, s.namespace = "configmaps in "+namespace, namespace
	s.labels = labels.SelectorFromSet(labels.Set{load.ManagedByLabel: load.ManagedBy})
	return s
}

// policyReports are the Reports that have the name of ours, whoever made them.
func policyReports() source {
	s := asStored(openreports.Kind, stripReport)
	s.name, s.optional = openreports.CRD, true
	s.fields = fields.OneTermEqualSelector("metadata.name", openreports.Name)
	return s
}
