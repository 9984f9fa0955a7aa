// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/oracle"
)

// remember reads what the compiler needs of the cluster, which no configuration
// changes.
func (s *stage) remember(ctx context.Context) error {
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.PodList{}, &networkingv1.WorkloadEntryList{},
	} {
		if err := s.Client().List(ctx, list); err != nil {
			return fmt.Errorf("listing %T: %w", list, err)
		}
		objects, err := apimeta.ExtractList(list)
		if err != nil {
			return fmt.Errorf("listing %T: %w", list, err)
		}
		s.surroundings = append(s.surroundings, objects...)
	}
	list := &networkingv1.SidecarList{}
	if err := s.Client().List(ctx, list); err != nil {
		return fmt.Errorf("listing sidecars: %w", err)
	}
	for _, item := range list.Items {
		text, err := json.Marshal(&item.Spec)
		if err != nil {
			return fmt.Errorf("reading the sidecar %s: %w", item.Name, err)
		}
		spec := fields{}
		if err := json.Unmarshal(text, &spec); err != nil {
			return fmt.Errorf("reading the sidecar %s: %w", item.Name, err)
		}
		o := object{group: networking, kind: "Sidecar", namespace: item.Namespace, name: item.Name, spec: plainNumbers(spec)}
		s.sidecars[item.Name[:len(item.Name)-len("-pod")]] = o
		s.applied[o.key()] = o
	}
	return nil
}

// plainNumbers makes whole numbers of those that JSON left open.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case fields:
		for k, one := range v {
			v[k] = plainNumbers(one)
		}
	case []any:
		for i, one := range v {
			v[i] = plainNumbers(one)
		}
	case float64:
		return int64(v)
	}
	return v
}

var (
	statedWorkloads = []oracle.Workload{
		{Namespace: "shop", Name: "cart", Ports: map[string]int32{"web": 8080}}, {Namespace: "bank", Name: "ledger", Ports: map[string]int32{"web": 8080}},
	}
	statedCallers = []oracle.Caller{
		{Name: "visitor", Namespace: "people", ServiceAccount: "visitor"}, {Name: "ledger", Namespace: "bank", ServiceAccount: "ledger"},
		{Name: "cart", Namespace: "shop", ServiceAccount: "cart"},
	}
)

// stated writes SecureIngresses and Applications, and adds what becomes of them.
func (a *author) stated() {
	ingresses := a.ingresses()
	w := oracle.NewWorld(a.Uint64(), ingresses, statedWorkloads, statedCallers)
	builder := load.NewBuilder(model.DefaultMesh())
	for _, o := range a.stage.surroundings {
		builder.Add(o)
	}
	for _, in := range ingresses {
		builder.Add(in)
	}
	for _, application := range w.Applications {
		builder.Add(application)
	}
	in := builder.Input()
	in.ProbeKey = "c2VjcmV0LXByb2JlLWtleQ"
	for _, made := range compile.Compile(model.NewSnapshot(in)).Objects {
		if made.Ref.Kind == "HostClaim" {
			continue
		}
		if o, ok := adopt(made.Value); ok {
			a.out = append(a.out, o)
		}
	}
}

// adopt takes an object of the compiler.
func adopt(value any) (object, bool) {
	text, err := json.Marshal(value)
	if err != nil {
		return object{}, false
	}
	var read struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
		Spec fields `json:"spec"`
	}
	if json.Unmarshal(text, &read) != nil || read.Kind == "" {
		return object{}, false
	}
	group := security
	if read.APIVersion == networking+"/v1" {
		group = networking
	}
	if read.APIVersion != group+"/v1" {
		return object{}, false
	}
	return object{group: group, kind: read.Kind, namespace: read.Metadata.Namespace, name: read.Metadata.Name, spec: plainNumbers(read.Spec)}, true
}

func (a *author) ingresses() []*v1alpha1.SecureIngress {
	var out []*v1alpha1.SecureIngress
	for i, domain := range some(a, []string{"example.com", "bank.test"}, 2) {
		in := &v1alpha1.SecureIngress{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecureIngress"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprintf("ingress-%d", i)},
		}
		in.Spec.Domains = []v1alpha1.IngressDomain{{Name: "main", Domain: domain}}
		in.Spec.Gateway = v1alpha1.IngressGateway{Service: "door", Exclusive: i == 0 && a.chance(40)}
		in.Spec.TLS.SecretName = map[string]string{"example.com": "wildcard", "bank.test": "bank"}[domain]
		if a.chance(30) {
			in.Spec.InsecureRequests = v1alpha1.InsecureRequestsReject
		}
		if a.chance(30) {
			in.Spec.TLS.MinimumVersion = v1alpha1.TLSv13
		}
		if a.chance(40) {
			in.Spec.TLS.HSTS = &v1alpha1.HSTS{MaxAge: metav1.Duration{Duration: time.Hour}}
		}
		in.Spec.IdentityProviders = a.providers()
		in.Spec.Applications = []v1alpha1.ApplicationAdmission{{
			Name: "all", NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"exposure": "public"}}, Hostnames: []string{"*"},
		}}
		out = append(out, in)
	}
	return out
}

func (a *author) providers() []v1alpha1.IdentityProvider {
	out := []v1alpha1.IdentityProvider{
		{Name: "customers", Issuer: issuerMain, JWKS: a.stage.keys.keys(issuerMain), Audiences: []v1alpha1.ClaimValue{"shop", "mobile"}, Default: true},
	}
	if a.chance(60) {
		p := v1alpha1.IdentityProvider{Name: "partners", Issuer: issuerPartner, JWKS: a.stage.keys.keys(issuerPartner), Audiences: []v1alpha1.ClaimValue{"shop"}}
		if a.chance(40) {
			p.TokenSources = []v1alpha1.TokenSource{{Header: &v1alpha1.TokenHeader{Name: "x-token", Prefix: "Token "}}, {Cookie: "session"}, {Query: "token"}}
		}
		if a.chance(40) {
			p.ScopeClaim = "groups"
		}
		out = append(out, p)
	}
	return out
}

var _ runtime.Object = (*v1alpha1.SecureIngress)(nil)
