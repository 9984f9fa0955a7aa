// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/apply"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
)

// delegated are the sources of what other controllers do for Trellis: in the
// namespaces of gateways alone, and only where the cluster has the kinds. Issuers
// are looked at while somebody names one.
func (g *Gatherer) delegated(installed map[string]bool) []source {
	var out []source
	add := func(crd, namespace string, gvk schema.GroupVersionKind, s strip) {
		if !installed[crd] {
			return
		}
		src := asStored(gvk, s)
		src.name, src.namespace, src.optional = crd, namespace, true
		if namespace != "" {
			src.name = in(crd, namespace)
		}
		out = append(out, src)
	}
	for namespace := range g.records {
		for _, kind := range apply.Kinds() {
			if kind.Foreign {
				add(kind.CRD(), namespace, kind.GroupVersionKind, stripDelegated(g.options.Mesh.Cluster))
			}
		}
	}
	issuer := delegation.CertificateKind.GroupVersion().WithKind
	for _, ingress := range g.ingresses() {
		if ingress.Spec.TLS.CertManager != nil {
			add(delegation.ClusterIssuerCRD, "", issuer(delegation.ClusterIssuerKind), stripIssuer)
			add(delegation.IssuerCRD, ingress.Namespace, issuer(delegation.IssuerKind), stripIssuer)
		}
	}
	return out
}

// in is the name of a watch of one namespace.
func in(what, namespace string) string { return what + " in " + namespace }

// missing are the definitions of delegated kinds that the cluster lacks, or has
// without the version that Trellis speaks.
func (g *Gatherer) missing() []string {
	installed := g.installed()
	var out []string
	for _, kind := range apply.Kinds() {
		if !kind.Foreign {
			continue
		}
		absent := !installed[kind.CRD()]
		for namespace := range g.records {
			w := g.watches[in(kind.CRD(), namespace)]
			absent = absent || w != nil && w.refusal() != nil && !forbidden(w.refusal())
		}
		if absent {
			out = append(out, kind.CRD())
		}
	}
	return out
}

// issuersKnown reports whether every issuer that an ingress could name was read.
func (g *Gatherer) issuersKnown() bool {
	read := func(name string) bool {
		w := g.watches[name]
		return w != nil && w.synced() && w.refusal() == nil
	}
	known := read(delegation.ClusterIssuerCRD)
	for _, ingress := range g.ingresses() {
		if ingress.Spec.TLS.CertManager != nil {
			known = known && read(in(delegation.IssuerCRD, ingress.Namespace))
		}
	}
	return known
}

// undelegated says whose work cannot be handed over, because the operator has no
// right to.
func (g *Gatherer) undelegated(cluster string) []model.Finding {
	var out []model.Finding
	for _, ingress := range g.ingresses() {
		for _, asked := range []struct {
			wanted     bool
			crd, field string
		}{
			{ingress.Spec.TLS.CertManager != nil, delegation.CertificateCRD, "spec.tls.certManager"},
			{ingress.Spec.DNS != nil && ingress.Spec.DNS.ExternalDNS != nil, delegation.EndpointCRD, "spec.dns.externalDNS"},
		} {
			w := g.watches[in(asked.crd, ingress.Namespace)]
			if !asked.wanted || w == nil || !forbidden(w.refusal()) {
				continue
			}
			out = append(out, model.Finding{
				Severity: model.SeverityError,
				Object:   model.Reference{Cluster: cluster, Group: v1alpha1.GroupName, Kind: "SecureIngress", Namespace: ingress.Namespace, Name: ingress.Name},
				Field:    asked.field, Reason: "DelegationForbidden",
				Message: fmt.Sprintf("the operator may not read and write %s in namespace %s", asked.crd, ingress.Namespace),
				Owner:   "the operator's rights in namespace " + ingress.Namespace,
				Fix:     fmt.Sprintf("add %s to the value gatewayNamespaces of the chart trellis and upgrade it", ingress.Namespace),
			})
		}
	}
	return out
}

func forbidden(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// stripDelegated keeps what was stated, of DNSEndpoints alone, and what their
// controller says of it. Those that Trellis did not make are names that are taken.
func stripDelegated(cluster string) strip {
	return func(obj runtime.Object) (*entry, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil, unexpected(obj)
		}
		e, err := stripGenerated(cluster)(u)
		if err != nil || !e.live.Ours {
			return e, err
		}
		meta := metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), Generation: u.GetGeneration()}
		read := runtime.DefaultUnstructuredConverter.FromUnstructured
		if u.GetKind() == delegation.EndpointKind.Kind {
			endpoint := &delegation.DNSEndpoint{}
			err = read(u.Object, endpoint)
			endpoint.TypeMeta, endpoint.ObjectMeta = metav1.TypeMeta{}, meta
			e.object = endpoint
		} else {
			certificate := &delegation.Certificate{}
			err = read(u.Object, certificate)
			e.object = &delegation.Certificate{ObjectMeta: meta, Status: certificate.Status}
		}
		if err != nil {
			// One that cannot be read says nothing, and is compared all the same.
			e.object = nil
		}
		return e, nil
	}
}

// stripIssuer keeps how an issuer of cert-manager proves control of names.
func stripIssuer(obj runtime.Object) (*entry, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, unexpected(obj)
	}
	e := newEntry(u)
	e.issuer = &delegation.Issuer{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
	solvers, _, _ := unstructured.NestedSlice(u.Object, "spec", "acme", "solvers")
	e.issuer.OnlyHTTP01 = len(solvers) > 0
	for _, s := range solvers {
		solver, _ := s.(map[string]any)
		if _, ok := solver["http01"]; !ok {
			e.issuer.OnlyHTTP01 = false
		}
	}
	return e, nil
}
