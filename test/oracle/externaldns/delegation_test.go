// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package externaldns_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	istioclient "istio.io/client-go/pkg/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/source"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/document"
	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
	"github.com/trellis-mesh/trellis/internal/schema"
	"github.com/trellis-mesh/trellis/test/stack"
)

const (
	documents = "../../../internal/compile/testdata/externaldns-is-asked-for-the-entries-and-shown-no-other-source"
	gateways  = "istio-ingress"
)

// cluster is an API server with the kinds of Istio and of ExternalDNS, and what
// Trellis makes of the documents in the zone of the tests.
type cluster struct {
	*stack.Stack
	client  client.Client
	objects []*unstructured.Unstructured
	// sources are ExternalDNS' own: of DNSEndpoints, Gateways and VirtualServices.
	sources map[string]source.Source
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Options{WithoutIstio: true})
	fail(t, err)
	t.Cleanup(s.Stop)
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/external-dns").Output()
	fail(t, err)
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "config", "crd", "standard", "dnsendpoints.externaldns.k8s.io.yaml"))
	fail(t, err)
	fail(t, s.InstallCRDs(t.Context(), raw))
	fail(t, s.InstallIstioCRDs(t.Context()))
	c := &cluster{Stack: s, sources: map[string]source.Source{}}
	c.client, err = client.New(s.Config(), client.Options{Scheme: scheme.Scheme})
	fail(t, err)
	fail(t, s.Namespace(t.Context(), gateways, nil))
	c.compile(t)
	c.watch(t)
	return c
}

// compile reads the documents as the command line does, and writes what follows
// for gateways, with the Service that they are about.
func (c *cluster) compile(t *testing.T) {
	t.Helper()
	var text []string
	for _, name := range []string{"platform.yaml", "in.yaml"} {
		raw, err := os.ReadFile(filepath.Join(documents, name))
		fail(t, err)
		text = append(text, strings.ReplaceAll(string(raw), "example.com", zone))
	}
	checker, err := schema.New()
	fail(t, err)
	mesh := model.DefaultMesh()
	set, err := document.Read([]string{"-"}, strings.NewReader(strings.Join(text, "\n---\n")), document.Options{Cluster: mesh.Cluster, Scope: checker.Scope})
	fail(t, err)
	objects, refused := checker.Read(t.Context(), set)
	builder := load.NewBuilder(mesh)
	for _, o := range objects {
		builder.Add(o.Value)
		if service, ok := o.Value.(*corev1.Service); ok && service.Namespace == gateways {
			status := service.DeepCopy().Status
			service = service.DeepCopy()
			service.Spec.Type = corev1.ServiceTypeLoadBalancer
			fail(t, c.client.Create(t.Context(), service))
			service.Status = status
			fail(t, c.client.Status().Update(t.Context(), service))
		}
	}
	outcome := compile.Compile(model.NewSnapshot(builder.Input()))
	if len(refused) > 0 {
		t.Fatalf("refused: %v", refused)
	}
	for _, o := range outcome.Objects {
		if !slices.Contains([]string{"Gateway", "VirtualService", delegation.EndpointKind.Kind}, o.Ref.Kind) {
			continue
		}
		manifest, err := o.Manifest()
		fail(t, err)
		u := &unstructured.Unstructured{Object: manifest}
		fail(t, c.client.Create(t.Context(), u))
		c.objects = append(c.objects, u)
	}
}

func (c *cluster) watch(t *testing.T) {
	t.Helper()
	kube, err := kubernetes.NewForConfig(c.Config())
	fail(t, err)
	istio, err := istioclient.NewForConfig(c.Config())
	fail(t, err)
	config := &source.Config{}
	endpoints, err := source.NewCRDSource(t.Context(), c.Config(), config)
	fail(t, err)
	ingresses, err := source.NewIstioGatewaySource(t.Context(), kube, istio, config)
	fail(t, err)
	routes, err := source.NewIstioVirtualServiceSource(t.Context(), kube, istio, config)
	fail(t, err)
	c.sources = map[string]source.Source{"crd": endpoints, "istio-gateway": ingresses, "istio-virtualservice": routes}
}

// desired is what all sources of ExternalDNS ask for, and how much each.
func (c *cluster) desired(ctx context.Context, t *testing.T) ([]*endpoint.Endpoint, map[string]int) {
	t.Helper()
	var all []*endpoint.Endpoint
	counts := map[string]int{}
	for name, s := range c.sources {
		found, err := s.Endpoints(ctx)
		fail(t, err)
		counts[name] = len(found)
		all = append(all, found...)
	}
	return all, counts
}

// await waits until the sources have seen what was written.
func (c *cluster) await(t *testing.T, want map[string]int) []*endpoint.Endpoint {
	t.Helper()
	var out []*endpoint.Endpoint
	fail(t, stack.Until(t.Context(), "ExternalDNS to see it", func(ctx context.Context) error {
		var counts map[string]int
		if out, counts = c.desired(ctx, t); !maps.Equal(counts, want) {
			return fmt.Errorf("its sources ask for %v, want %v", counts, want)
		}
		return nil
	}))
	return out
}

// entries are the names and types in the zone that are no marks.
func (w *world) entries() []string {
	w.Helper()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.dump())), func(key string) bool { return strings.HasSuffix(key, " TXT") })
}

func TestExternalDNSWritesWhatItIsHandedAndNothingTwice(t *testing.T) {
	c := newCluster(t)
	inWorlds(t, func(w *world) {
		for _, o := range c.objects {
			again := o.DeepCopy()
			again.SetResourceVersion("")
			again.SetUID("")
			if err := c.client.Create(w.Context(), again); client.IgnoreAlreadyExists(err) != nil {
				w.Fatal(err)
			}
		}
		// Two hosts with addresses of two families, by one source alone.
		quiet := map[string]int{"crd": 4, "istio-gateway": 0, "istio-virtualservice": 0}
		if changes := w.round(w.peer, c.await(w.T, quiet)...); len(changes.Create) != 4 {
			w.Errorf("it creates %v", changes.Create)
		}
		want := []string{"shop.eu." + zone + " A", "shop.eu." + zone + " AAAA", "shop." + zone + " A", "shop." + zone + " AAAA"}
		if got := w.entries(); !slices.Equal(got, want) {
			w.Errorf("the zone has %v, want %v", got, want)
		}
		if got := w.dump()["shop."+zone+" A"]; !strings.Contains(got, "192.0.2.7") || !strings.Contains(got, "\t60\t") {
			w.Errorf("the entry is %s", got)
		}
		if changes := w.round(w.peer, c.await(w.T, quiet)...); changes.HasChanges() {
			w.Errorf("at the second look it changes %v", changes)
		}
		for _, o := range c.objects {
			if o.GetKind() != delegation.EndpointKind.Kind {
				continue
			}
			read := o.DeepCopy()
			fail(w.T, c.client.Get(w.Context(), client.ObjectKeyFromObject(o), read))
			if seen, _, _ := unstructured.NestedInt64(read.Object, "status", "observedGeneration"); seen != read.GetGeneration() {
				w.Errorf("%s: generation %d, observed %d", o.GetName(), read.GetGeneration(), seen)
			}
			fail(w.T, c.client.Delete(w.Context(), read))
		}
		w.round(w.peer, c.await(w.T, map[string]int{"crd": 0, "istio-gateway": 0, "istio-virtualservice": 0})...)
		if got := w.entries(); len(got) > 0 {
			w.Errorf("the zone still has %v", got)
		}
	})
	// Without the annotation the other sources would ask for the same names.
	for _, o := range c.objects {
		if o.GetKind() == "Gateway" {
			read := o.DeepCopy()
			fail(t, c.client.Get(t.Context(), client.ObjectKeyFromObject(o), read))
			annotations := read.GetAnnotations()
			delete(annotations, compile.AnnotationExternalDNS)
			delete(annotations, compile.AnnotationExternalDNSBefore)
			read.SetAnnotations(annotations)
			fail(t, c.client.Update(t.Context(), read))
		}
	}
	fail(t, stack.Until(t.Context(), "the Gateway to be seen", func(ctx context.Context) error {
		if _, counts := c.desired(ctx, t); counts["istio-gateway"] == 0 {
			return errors.New("the annotation makes no difference: nothing was shown")
		}
		return nil
	}))
}

func fail(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
