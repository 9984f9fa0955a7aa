// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/parallel"
)

// pageSize bounds one answer of the API server.
const pageSize = 500

// kind is a kind of objects that is listed.
type kind struct {
	schema.GroupVersionKind
	// resource as rights name it.
	resource string
	// list makes an empty list of typed objects; nil: they are read as they are.
	list func() client.ObjectList
	// lack says what is not known without it, for a kind that one can do without;
	// empty: one cannot.
	lack string
	// options narrow what is listed.
	options []client.ListOption
}

func typedKind(group, version, name, resource string, list func() client.ObjectList) kind {
	return kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: name}, resource: resource, list: list}
}

// without makes a kind one that can be done without.
func (k kind) without(lack string) kind {
	k.lack = lack
	return k
}

// statements is what is lost without the objects that Trellis makes.
const statements = "the statements behind its rules are not known"

// addressed are the kinds that say which workloads there are and by which names and
// addresses they are found.
func addressed() []kind {
	return []kind{
		typedKind("", "v1", "Pod", "pods", func() client.ObjectList { return &corev1.PodList{} }),
		typedKind("", "v1", "Service", "services", func() client.ObjectList { return &corev1.ServiceList{} }),
		typedKind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }),
		typedKind("networking.istio.io", "v1", "WorkloadEntry", "workloadentries", func() client.ObjectList { return &networkingv1.WorkloadEntryList{} }),
		typedKind("networking.istio.io", "v1", "ServiceEntry", "serviceentries", func() client.ObjectList { return &networkingv1.ServiceEntryList{} }),
	}
}

// configured are Istio's kinds that Trellis makes.
func configured() []kind {
	const networking, security = "networking.istio.io", "security.istio.io"
	return []kind{
		typedKind(networking, "v1", "Gateway", "gateways", func() client.ObjectList { return &networkingv1.GatewayList{} }),
		typedKind(networking, "v1", "VirtualService", "virtualservices", func() client.ObjectList { return &networkingv1.VirtualServiceList{} }),
		typedKind(networking, "v1", "DestinationRule", "destinationrules", func() client.ObjectList { return &networkingv1.DestinationRuleList{} }),
		typedKind(networking, "v1", "Sidecar", "sidecars", func() client.ObjectList { return &networkingv1.SidecarList{} }),
		typedKind(networking, "", "EnvoyFilter", "envoyfilters", nil),
		typedKind(security, "v1", "AuthorizationPolicy", "authorizationpolicies", func() client.ObjectList { return &securityv1.AuthorizationPolicyList{} }),
		typedKind(security, "v1", "RequestAuthentication", "requestauthentications", func() client.ObjectList { return &securityv1.RequestAuthenticationList{} }),
		typedKind(security, "v1", "PeerAuthentication", "peerauthentications", func() client.ObjectList { return &securityv1.PeerAuthenticationList{} }),
	}
}

// stated are the kinds in which people state things.
func stated() []kind {
	return []kind{
		typedKind(v1alpha1.GroupName, "v1alpha1", "Application", "applications", func() client.ObjectList { return &v1alpha1.ApplicationList{} }),
	}
}

// origins are the ConfigMaps that keep what does not fit into an annotation.
func origins() kind {
	k := typedKind("", "v1", "ConfigMap", "configmaps", func() client.ObjectList { return &corev1.ConfigMapList{} })
	k.options = []client.ListOption{client.MatchingLabels{load.ManagedByLabel: load.ManagedBy}}
	return k.without("the statements behind objects with very many rules are not known")
}

// forADS are what a question needs beside the proxies' configurations.
func forADS() []kind {
	out := addressed()
	for _, k := range configured() {
		out = append(out, k.without(statements))
	}
	for _, k := range stated() {
		out = append(out, k.without("what Applications state is not known"))
	}
	return append(out, origins())
}

// objects are what was read of a cluster.
type objects struct {
	all []client.Object
	// lacks say what could not be read and what is therefore not known.
	lacks []string
}

// errMayNot is that whoever runs the command lacks rights.
var errMayNot = errors.New("rights are missing")

// read lists the kinds. A kind that the cluster does not have has no objects; one
// that may not be listed is an error unless it can be done without. The error names
// all rights that are missing.
func (a *api) read(ctx context.Context, kinds []kind) (*objects, error) {
	lists, errs := make([][]client.Object, len(kinds)), make([]error, len(kinds))
	a.waiting.say("reading the objects of the cluster at %s", a.config.Host)
	parallel.Each(len(kinds), atOnce, func(i int) { lists[i], errs[i] = a.list(ctx, kinds[i]) })
	out := &objects{}
	var missing []string
	for i, k := range kinds {
		err := errs[i]
		switch {
		case err == nil:
			out.all = append(out.all, lists[i]...)
		case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		case apierrors.IsForbidden(err) && k.lack != "":
			out.lacks = append(out.lacks, fmt.Sprintf("you may not list %s: %s", k.right(), k.lack))
		case apierrors.IsForbidden(err):
			missing = append(missing, k.right())
		default:
			return nil, fmt.Errorf("listing %s: %w", k.right(), err)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("reading the cluster: %w: you may not list %s in all namespaces; docs/concepts/access-questions.md has a ClusterRole with what questions need", errMayNot, strings.Join(missing, ", "))
	}
	slices.SortStableFunc(out.all, func(a, b client.Object) int {
		return cmp.Or(strings.Compare(a.GetObjectKind().GroupVersionKind().Kind, b.GetObjectKind().GroupVersionKind().Kind),
			strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

// right is the resource as rights name it.
func (k kind) right() string {
	return schema.GroupResource{Group: k.Group, Resource: k.resource}.String()
}

// empty is a list to be read into. Each page gets one of its own: decoding into the
// last one would change its objects.
func (k kind) empty() client.ObjectList {
	if k.list != nil {
		return k.list()
	}
	raw := &unstructured.UnstructuredList{}
	raw.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	return raw
}

// list reads all objects of a kind, page by page.
func (a *api) list(ctx context.Context, k kind) ([]client.Object, error) {
	if k.Version == "" {
		mapping, err := a.RESTMapper().RESTMapping(k.GroupKind())
		if err != nil {
			return nil, err
		}
		k.GroupVersionKind = mapping.GroupVersionKind
	}
	var out []client.Object
	for more := ""; ; {
		list := k.empty()
		options := append(slices.Clone(k.options), client.Limit(pageSize), client.Continue(more))
		if err := a.List(ctx, list, options...); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			if object, ok := o.(client.Object); ok {
				// Items of typed lists do not say their kind.
				object.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
				attribution.KeepChanged(object)
				out = append(out, object)
			}
			return nil
		})
		if more = list.GetContinue(); err != nil || more == "" {
			return out, err
		}
	}
}

// of are the objects of one type.
func of[T client.Object](o *objects) []T {
	var out []T
	for _, object := range o.all {
		if typed, ok := object.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

// asRuntime are the objects in the form that directories and origins take.
func (o *objects) asRuntime() []runtime.Object {
	out := make([]runtime.Object, 0, len(o.all))
	for _, object := range o.all {
		out = append(out, object)
	}
	return out
}
