// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

// mesh is the running stack with what was last applied to it. Its methods are
// for one goroutine; sending requests is for any number of them.
type mesh struct {
	*stack.Stack
	client     client.Client
	generation int
	// applied are the generated objects that are in the API server, by
	// reference, with the bytes that were sent.
	applied map[model.Reference]string
	outcome *compile.Outcome
	proxies map[string]*stack.Proxy
}

// startMesh starts the control plane with Trellis' own kinds.
func startMesh(ctx context.Context) (*mesh, error) {
	s, err := stack.Start(ctx, stack.Options{})
	if err != nil {
		return nil, err
	}
	m := &mesh{Stack: s, applied: map[model.Reference]string{}, proxies: map[string]*stack.Proxy{}}
	scheme := runtime.NewScheme()
	if err := load.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if m.client, err = client.New(s.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if err := s.InstallTrellisCRDs(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// snapshot reads what the compiler needs from the API server.
func (m *mesh) snapshot(ctx context.Context) (*model.Snapshot, error) {
	b := load.NewBuilder(model.DefaultMesh())
	for _, list := range []client.ObjectList{
		&v1alpha1.ApplicationList{}, &v1alpha1.SecureIngressList{}, &v1alpha1.HostClaimList{},
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.PodList{},
		&networkingv1.WorkloadEntryList{}, &networkingv1.GatewayList{}, &networkingv1.VirtualServiceList{},
		&networkingv1.DestinationRuleList{}, &securityv1.AuthorizationPolicyList{},
		&securityv1.RequestAuthenticationList{}, &securityv1.PeerAuthenticationList{},
	} {
		if err := m.client.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing %T, %w", list, err)
		}
		objects, err := apimeta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			b.Add(object)
		}
	}
	in := b.Input()
	in.ProbeKey = probeKey
	return model.NewSnapshot(in), nil
}

// apply hands documents to the API server, which validates them, and brings the
// mesh to what follows from all documents there are. It returns when every
// proxy uses that.
func (m *mesh) apply(ctx context.Context, documents string) error {
	if err := m.Apply(ctx, []byte(documents)); err != nil {
		return err
	}
	return m.converge(ctx)
}

// remove takes documents away again.
func (m *mesh) remove(ctx context.Context, objects ...client.Object) error {
	for _, object := range objects {
		if err := m.client.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return m.converge(ctx)
}

func (m *mesh) converge(ctx context.Context) error {
	s, err := m.snapshot(ctx)
	if err != nil {
		return err
	}
	m.outcome = compile.Compile(s)
	if m.outcome.Err != nil {
		return m.outcome.Err
	}
	wanted := make(map[model.Reference]string, len(m.outcome.Objects))
	for _, object := range m.outcome.Objects {
		text, err := object.YAML()
		if err != nil {
			return err
		}
		wanted[object.Ref] = string(text)
		if m.applied[object.Ref] == string(text) {
			continue
		}
		if err := m.Apply(ctx, text); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		m.applied[object.Ref] = string(text)
	}
	for ref := range m.applied {
		if _, ok := wanted[ref]; ok || ref.Kind == "HostClaim" {
			continue
		}
		if err := m.prune(ctx, ref); err != nil {
			return err
		}
		delete(m.applied, ref)
	}
	return m.settle(ctx)
}

func (m *mesh) prune(ctx context.Context, ref model.Reference) error {
	mapping, err := m.client.RESTMapper().RESTMapping(schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(mapping.GroupVersionKind)
	object.SetNamespace(ref.Namespace)
	object.SetName(ref.Name)
	return client.IgnoreNotFound(m.client.Delete(ctx, object))
}

// environment gives the mark a place among the routes of every gateway, and
// makes proxies open a connection for each request: an Envoy serves one more
// request by its old rules on each connection that was open when they changed.
const environment = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one-request-per-connection, namespace: istio-system}
spec:
  host: "*.svc.cluster.local"
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: generation, namespace: istio-system}
spec:
  selector: {marked: "true"}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [generation.invalid]}]
`

// settle marks a generation of the configuration, by a rule that denies and a
// route that serves what nobody sends, and waits until every proxy has both. The
// mark is written last, so that the push that brings it brings everything before
// it. It names a port that nobody has: on TCP ports Istio reads a denial without
// what HTTP alone has, and would deny everything.
func (m *mesh) settle(ctx context.Context) error {
	m.generation++
	if m.generation == 1 {
		if err := m.Apply(ctx, []byte(environment)); err != nil {
			return err
		}
	}
	marker := fmt.Sprintf("/trellis-generation/%d", m.generation)
	mark := fmt.Appendf(nil, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: generation, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {hosts: [generation.invalid], ports: ["1"], paths: [%[1]q]}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: generation, namespace: istio-system}
spec:
  hosts: [generation.invalid]
  gateways: [generation]
  http: [{match: [{uri: {exact: %[1]q}}], directResponse: {status: 404}}]
`, marker)
	if err := m.Apply(ctx, mark); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	failures := make([]error, len(m.proxies))
	i := 0
	for name, proxy := range m.proxies {
		at := i
		i++
		wait.Go(func() {
			failures[at] = stack.Until(ctx, name+" to use generation "+marker, func(ctx context.Context) error {
				return uses(ctx, proxy, marker)
			})
		})
	}
	wait.Wait()
	return errors.Join(failures...)
}

// uses reports an error unless the proxy has the marker wherever it has one.
func uses(ctx context.Context, proxy *stack.Proxy, marker string) error {
	marks := 0
	for _, resource := range []string{"dynamic_listeners", "dynamic_route_configs"} {
		dump, err := proxy.Admin(ctx, "/config_dump?resource="+resource)
		if err != nil {
			return err
		}
		var all struct {
			Configs []struct {
				// What is draining is old, and what is warming not used yet.
				Active  json.RawMessage `json:"active_state"`
				Warming json.RawMessage `json:"warming_state"`
				Routes  json.RawMessage `json:"route_config"`
			} `json:"configs"`
		}
		if err := json.Unmarshal(dump, &all); err != nil {
			return err
		}
		for _, c := range all.Configs {
			if c.Warming != nil {
				return errors.New("a listener is still warming")
			}
			used := slices.Concat(c.Active, c.Routes)
			if !bytes.Contains(used, []byte("/trellis-generation/")) {
				continue
			}
			if marks++; !bytes.Contains(used, []byte(marker+`"`)) {
				return fmt.Errorf("%s: an older generation", resource)
			}
		}
	}
	if marks == 0 {
		return errors.New("no generation yet")
	}
	return nil
}
