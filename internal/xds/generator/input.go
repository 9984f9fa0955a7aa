// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	meshconfig "istio.io/api/mesh/v1alpha1"
	securityapi "istio.io/api/security/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/config/kube/crdclient"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/parallel"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Input is all that the generator knows of a mesh. Its objects are read only.
type Input struct {
	// Objects are Kubernetes and Istio objects in any order, typed or
	// unstructured. What Istio does not read is left out. Secrets are used for
	// their names.
	Objects []client.Object
	// MeshConfig is Istio's mesh configuration as YAML. Empty: that of ConfigMap
	// istio in istio-system among the objects, or Istio's defaults.
	MeshConfig string
	// Cluster is Istio's id of the cluster; default Kubernetes.
	Cluster string
	// ClusterDomain is the DNS suffix of Services; default cluster.local.
	ClusterDomain string
	// FromFiles says that the objects were written by people and that nothing
	// runs yet: pods are made from templates, addresses are given to Services and
	// pods that have none, and EndpointSlices are made, as the controllers of a
	// cluster would. Those addresses are from 198.18.0.0/15 (RFC 2544), which no
	// real workload has.
	FromFiles bool
	// Common is shared by generators whose inputs are compared; nil: nothing is shared.
	Common *Common
}

const (
	defaultCluster = "Kubernetes"
	// rootNamespace is where the server of Istio's tests looks for what is its own.
	rootNamespace = "istio-system"
)

// gathered is the input in the forms that Istio's server takes.
type gathered struct {
	// domain is the DNS suffix of Services.
	domain   string
	mesh     *meshconfig.MeshConfig
	networks *meshconfig.MeshNetworks
	// kube are objects that Istio watches as they are.
	kube []kruntime.Object
	// configs are Istio's own kinds.
	configs  []config.Config
	problems []xds.Problem
	newest   time.Time
	pods     []*corev1.Pod
}

// watched are Kubernetes' kinds that change what a proxy gets.
var watched = map[string]bool{
	"Namespace": true, "Service": true, "Pod": true, "EndpointSlice": true, "Node": true, "Secret": true,
	"Ingress": true, "IngressClass": true,
}

func gather(in Input) (*gathered, error) {
	g := &gathered{domain: cmp.Or(in.ClusterDomain, defaultDomain)}
	objects := make([]client.Object, 0, len(in.Objects))
	for _, object := range in.Objects {
		typed, err := g.typed(object)
		if err != nil {
			return nil, fmt.Errorf("reading %s %s/%s for Istio's generator: %w; trellis check says where it is", cmp.Or(object.GetObjectKind().GroupVersionKind().Kind, fmt.Sprintf("%T", object)), object.GetNamespace(), object.GetName(), err)
		}
		if typed != nil {
			objects = append(objects, typed)
		}
	}
	if in.FromFiles {
		objects = Complete(objects)
	}
	text, networks := in.MeshConfig, ""
	for _, object := range objects {
		if c, ok := object.(*corev1.ConfigMap); ok && c.Namespace == rootNamespace && c.Name == "istio" {
			networks = c.Data["meshNetworks"]
			if text == "" {
				text = c.Data["mesh"]
			}
		}
		if at := object.GetCreationTimestamp().Time; at.After(g.newest) {
			g.newest = at
		}
	}
	if err := g.readMesh(text, networks); err != nil {
		return nil, err
	}
	return g, g.addAll(objects, in.Common)
}

func (g *gathered) readMesh(text, networks string) error {
	var err error
	if g.mesh, err = mesh.ApplyMeshConfigDefaults(text); err != nil {
		return fmt.Errorf("reading the mesh configuration: %w", err)
	}
	if g.mesh.GetRootNamespace() != rootNamespace {
		g.problems = append(g.problems, xds.Problem{Kind: xds.Missing, Type: "MeshConfig", Resource: "rootNamespace", Detail: fmt.Sprintf(
			"Istio's server in this process looks for its own Services in %s, the mesh has them in %s", rootNamespace, g.mesh.GetRootNamespace())})
	}
	if networks != "" {
		if g.networks, err = mesh.ParseMeshNetworks(networks); err != nil {
			return fmt.Errorf("reading the networks of the mesh: %w", err)
		}
	}
	return nil
}

// addAll takes the objects in order. Istio's own are read and judged at the same time,
// which takes most of the time.
func (g *gathered) addAll(objects []client.Object, common *Common) error {
	read := make([]*configObject, len(objects))
	parallel.Each(len(objects), runtime.GOMAXPROCS(0), func(i int) {
		if strings.HasSuffix(kindOf(objects[i]).Group, "istio.io") {
			read[i] = readConfig(objects[i], g.newest, g.domain, common)
		}
	})
	for i, object := range objects {
		if err := g.add(object, read[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathered) add(object client.Object, read *configObject) error {
	kind := kindOf(object)
	g.doubtDomain(kind.Kind, object.GetNamespace()+"/"+object.GetName())
	switch {
	case read != nil:
		return g.addConfig(read)
	case kind.Group == gvk.KubernetesGateway.Group || watched[kind.Kind] && ofKubernetes(kind.Group):
		var typed kruntime.Object = object
		if secret, ok := typed.(*corev1.Secret); ok {
			typed = nameOnly(secret)
		}
		if pod, ok := typed.(*corev1.Pod); ok {
			g.pods = append(g.pods, pod)
		}
		g.kube = append(g.kube, typed)
	}
	return nil
}

// ofKubernetes: others may have kinds of the same names.
func ofKubernetes(group string) bool {
	return group == "" || group == "discovery.k8s.io" || group == "networking.k8s.io"
}

// kindOf prefers the Go type: typed objects often have no kind in them.
func kindOf(object client.Object) schema.GroupVersionKind {
	if _, ok := object.(*unstructured.Unstructured); !ok {
		if kinds, _, err := kube.IstioScheme.ObjectKinds(object); err == nil {
			return kinds[0]
		}
	}
	return object.GetObjectKind().GroupVersionKind()
}

// typed gives Kubernetes' objects their Go types, and nil for what Istio does not
// read. Istio's own stay as they are.
func (g *gathered) typed(object client.Object) (client.Object, error) {
	raw, ok := object.(*unstructured.Unstructured)
	kind := object.GetObjectKind().GroupVersionKind()
	if !ok || strings.HasSuffix(kind.Group, "istio.io") {
		return object, nil
	}
	read, err := kube.IstioScheme.New(kind)
	typed, isObject := read.(client.Object)
	switch {
	case err == nil && isObject:
		return typed, kruntime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, typed)
	case kind.Group == gvk.KubernetesGateway.Group || watched[kind.Kind] && ofKubernetes(kind.Group):
		g.problems = append(g.problems, xds.Problem{
			Kind: xds.Unresolved, Type: kind.Kind, Resource: object.GetNamespace() + "/" + object.GetName(),
			TypeURL: kind.GroupVersion().String(), Detail: "this version of Istio does not know this version of the kind",
		})
	}
	return nil, nil
}

// nameOnly leaves of a Secret what may be told of it.
func nameOnly(s *corev1.Secret) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}, Type: s.Type}
}

// configObject is an object of Istio's own.
type configObject struct {
	object client.Object
	config config.Config
	known  resource.Schema
	// problem is why it is left out, and err why it cannot be read.
	problem *xds.Problem
	err     error
}

// readConfig takes an object as Istio's webhook would: an invalid one has a problem.
// What is not created yet will be younger than all that is there, of which newest is
// the youngest.
func readConfig(object client.Object, newest time.Time, domain string, common *Common) (out *configObject) {
	kind := kindOf(object)
	where := object.GetNamespace() + "/" + object.GetName()
	out = &configObject{object: object}
	defer func() {
		if p := recover(); p != nil {
			out.problem = &xds.Problem{Kind: xds.Refused, Type: kind.Kind, Resource: where,
				Detail: fmt.Sprintf("Istio cannot judge the object, and it was left out: %v", p)}
		}
	}()
	var ok bool
	if out.known, ok = collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(config.FromKubernetesGVK(kind)); !ok {
		out.problem = &xds.Problem{Kind: xds.Unresolved, Type: kind.Kind, Resource: where,
			TypeURL: kind.GroupVersion().String(), Detail: "this version of Istio does not know this kind"}
		return out
	}
	if out.config, out.err = configOf(out.known, object, domain); out.err != nil {
		out.err = fmt.Errorf("reading %s %s: %w", kind.Kind, where, out.err)
		return out
	}
	if out.config.CreationTimestamp.IsZero() {
		out.config.CreationTimestamp = newest.Add(time.Second)
	}
	if err := common.judge(out.known, &out.config); err != nil {
		out.problem = &xds.Problem{Kind: xds.Refused, Type: kind.Kind, Resource: where,
			Detail: "Istio would refuse the object, and it was left out: " + err.Error()}
	}
	return out
}

func (g *gathered) addConfig(read *configObject) error {
	if read.err != nil {
		return read.err
	}
	if read.problem != nil {
		g.problems = append(g.problems, *read.problem)
		return nil
	}
	c := read.config
	if rules, ok := c.Spec.(*securityapi.RequestAuthentication); ok {
		c.Spec = g.withoutFetching(c.Namespace+"/"+c.Name, rules)
	}
	g.configs = append(g.configs, c)
	if kind := read.known.Kind(); features.EnableAmbient && kubeToo[kind] {
		typed, err := asKube(read.known, read.object)
		if err != nil {
			return fmt.Errorf("reading %s %s/%s: %w", kind, c.Namespace, c.Name, err)
		}
		g.kube = append(g.kube, typed)
	}
	return nil
}

// kubeToo are the kinds that the ambient index reads from the API server.
var kubeToo = map[string]bool{"AuthorizationPolicy": true, "PeerAuthentication": true, "ServiceEntry": true, "WorkloadEntry": true}

// asKube is an object in the version in which Istio watches it.
func asKube(known resource.Schema, object client.Object) (kruntime.Object, error) {
	switch object.(type) {
	case *networkingv1.ServiceEntry, *networkingv1.WorkloadEntry, *securityv1.AuthorizationPolicy, *securityv1.PeerAuthentication:
		return object, nil
	}
	typed, err := kube.IstioScheme.New(known.GroupVersionKind().Kubernetes())
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return typed, json.Unmarshal(text, typed)
}

// withoutFetching gives rules whose keys istiod would fetch a mark in place of
// their keys: nothing is called from here.
func (g *gathered) withoutFetching(where string, spec *securityapi.RequestAuthentication) *securityapi.RequestAuthentication {
	if !slices.ContainsFunc(spec.GetJwtRules(), fetched) {
		return spec
	}
	out := proto.CloneOf(spec)
	for _, rule := range out.GetJwtRules() {
		if !fetched(rule) {
			continue
		}
		from := rule.GetJwksUri()
		if from == "" {
			// OpenID Connect Discovery 1.0, section 4.
			from = strings.TrimSuffix(rule.GetIssuer(), "/") + "/.well-known/openid-configuration"
		}
		rule.JwksUri, rule.Jwks = "", xds.UnfetchedKeys(from)
		g.problems = append(g.problems, xds.Problem{Kind: xds.Missing, Type: "JWKS", Resource: from, Detail: fmt.Sprintf(
			"RequestAuthentication %s has its keys fetched by istiod; nothing is fetched here, so that signatures are not known", where)})
	}
	return out
}

func fetched(rule *securityapi.JWTRule) bool { return rule.GetJwks() == "" }

// configOf shares the specification with the object where their types allow it.
func configOf(known resource.Schema, object client.Object, domain string) (config.Config, error) {
	switch object.(type) {
	case *networkingv1.Gateway, *networkingv1.VirtualService, *networkingv1.DestinationRule, *networkingv1.ServiceEntry,
		*networkingv1.WorkloadEntry, *networkingv1.Sidecar, *networkingv1alpha3.EnvoyFilter,
		*securityv1.AuthorizationPolicy, *securityv1.PeerAuthentication, *securityv1.RequestAuthentication:
		return crdclient.TranslateObject(object, known.GroupVersionKind(), domain), nil
	}
	text, err := json.Marshal(object)
	if err != nil {
		return config.Config{}, err
	}
	var read crd.IstioKind
	if err := json.Unmarshal(text, &read); err != nil {
		return config.Config{}, err
	}
	c, err := crd.ConvertObject(known, &read, domain)
	if err != nil {
		return config.Config{}, err
	}
	return *c, nil
}
