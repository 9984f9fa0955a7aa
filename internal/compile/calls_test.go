// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

const callWorlds = 300

// callWorld is a mesh of four Applications, each in a namespace of its own, that let one
// another in at random, and a Service of nobody.
func callWorld(r *rand.Rand) model.Input {
	in := model.Input{Mesh: model.DefaultMesh()}
	for i := range 4 {
		name := fmt.Sprintf("app%d", i)
		in.Namespaces = append(in.Namespaces, model.Namespace{Name: name})
		in.Services = append(in.Services, serviceOf(name, name, name))
		in.Workloads = append(in.Workloads, model.Workload{
			Ref: model.Reference{Cluster: in.Mesh.Cluster, Kind: "Pod", Namespace: name, Name: name}, Labels: map[string]string{"app": name}, ServiceAccount: name, Ready: true,
		})
		a := &v1alpha1.Application{}
		a.Name, a.Namespace = name, name
		a.Spec.Service = name
		a.Spec.Ports = []v1alpha1.ApplicationPort{{Name: "web", Port: 80, Protocol: v1alpha1.ProtocolHTTP}}
		for _, route := range []string{"read", "write"} {
			prefix := "/" + route
			a.Spec.Routes = append(a.Spec.Routes, v1alpha1.Route{Name: v1alpha1.LabelName(route), Port: "web", Paths: []v1alpha1.PathMatch{{Prefix: &prefix}},
				Authentication: &v1alpha1.Authentication{Mode: v1alpha1.AuthenticationNone}})
		}
		a.Spec.Access = &v1alpha1.Access{}
		for range r.IntN(3) {
			a.Spec.Access.Callers = append(a.Spec.Access.Callers, randomCaller(r, len(a.Spec.Access.Callers)))
		}
		in.Applications = append(in.Applications, a)
	}
	in.Services = append(in.Services, serviceOf("app0", "nobodys", "nobodys"), serviceOf("app1", "too", "app1"))
	return in
}

func serviceOf(namespace, name, app string) model.Service {
	return model.Service{
		Ref:      model.Reference{Cluster: model.DefaultMesh().Cluster, Kind: "Service", Namespace: namespace, Name: name},
		Selector: map[string]string{"app": app},
		Ports:    []model.ServicePort{{Name: "http", Number: 80, Transport: "TCP", TargetNumber: 8080}},
	}
}

func randomCaller(r *rand.Rand, i int) v1alpha1.Caller {
	who := fmt.Sprintf("app%d", r.IntN(4))
	c := v1alpha1.Caller{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i))}
	switch r.IntN(4) {
	case 0:
		c.Peer.Application = &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(who), Name: who}
	case 1:
		c.Peer.ServiceAccount = &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(who), Name: who}
	case 2:
		c.Peer.Namespace = &v1alpha1.NamespaceReference{Name: v1alpha1.LabelName(who)}
	default:
		c.Peer.Any = &v1alpha1.AnyPeer{}
	}
	if r.IntN(2) == 0 {
		c.Routes = []v1alpha1.LabelName{[]v1alpha1.LabelName{"read", "write"}[r.IntN(2)]}
	}
	return c
}

func randomCall(r *rand.Rand, i int) v1alpha1.Call {
	c := v1alpha1.Call{Name: v1alpha1.LabelName(fmt.Sprintf("c%d", i))}
	who := fmt.Sprintf("app%d", r.IntN(5)) // the fifth does not exist
	switch r.IntN(4) {
	case 0, 1:
		c.Peer.Application = &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(who), Name: who}
		if r.IntN(2) == 0 {
			c.Routes = []v1alpha1.LabelName{[]v1alpha1.LabelName{"read", "write", "gone"}[r.IntN(3)]}
		}
	case 2:
		name := []string{who, "nobodys", "too"}[r.IntN(3)]
		c.Peer.Service = &v1alpha1.NamespacedName{Namespace: v1alpha1.LabelName(who), Name: name}
	default:
		host := []v1alpha1.ExternalHost{"api.example.com", "app1.app1", "app1.app1.svc.cluster.local"}[r.IntN(3)]
		c.Peer.External = &v1alpha1.ExternalPeer{Hosts: []v1alpha1.ExternalHost{host}, Port: int32(443 + r.IntN(2)), Protocol: []v1alpha1.ExternalProtocol{"TLS", "HTTP"}[r.IntN(2)]}
	}
	return c
}

// consents says by the statements alone whether a callee lets the caller in for a call.
func consents(callee *v1alpha1.Application, caller string, routes []v1alpha1.LabelName) bool {
	open := map[v1alpha1.LabelName]bool{}
	for _, c := range callee.Spec.Access.Callers {
		p := c.Peer
		in := p.Any != nil || p.Namespace != nil && string(p.Namespace.Name) == caller ||
			p.Application != nil && p.Application.Name == caller || p.ServiceAccount != nil && p.ServiceAccount.Name == caller
		for _, route := range callee.Spec.Routes {
			if in && (len(c.Routes) == 0 || slices.Contains(c.Routes, route.Name)) {
				open[route.Name] = true
			}
		}
	}
	for _, route := range routes {
		if !open[route] {
			return false
		}
	}
	return len(open) > 0
}

// reachable says by the statements alone which hosts of the mesh a caller may call.
func reachable(in model.Input, caller *v1alpha1.Application) []string {
	out := []string{"kube-system/kube-dns.kube-system.svc.cluster.local"}
	for _, c := range caller.Spec.Access.Calls {
		at := c.Peer.Application
		if at == nil {
			at = c.Peer.Service
		}
		if at == nil {
			continue
		}
		namespace, name := string(at.Namespace), at.Name
		for _, s := range in.Services {
			if s.Ref.Namespace != namespace || s.Ref.Name != name {
				continue
			}
			i := slices.IndexFunc(in.Applications, func(a *v1alpha1.Application) bool { return a.Name == s.Selector["app"] })
			if i < 0 || consents(in.Applications[i], caller.Name, c.Routes) {
				out = append(out, namespace+"/"+name+"."+namespace+".svc.cluster.local")
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// An empty list is a statement. Whoever reads an Application and writes it again must not
// lose it: that would let everything out.
func TestThatAnApplicationCallsNobodyIsNeverLost(t *testing.T) {
	for _, c := range []struct {
		text   string
		stated bool
	}{{`{"access":{"calls":[]}}`, true}, {`{"access":{}}`, false}, {`{"access":{"calls":null}}`, false}} {
		spec := &v1alpha1.ApplicationSpec{}
		if err := json.Unmarshal([]byte(c.text), spec); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		again := &v1alpha1.ApplicationSpec{}
		if err := json.Unmarshal(text, again); err != nil {
			t.Fatal(err)
		}
		plain, err := runtime.DefaultUnstructuredConverter.ToUnstructured(again)
		if err != nil {
			t.Fatal(err)
		}
		converted := &v1alpha1.ApplicationSpec{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(plain, converted); err != nil {
			t.Fatal(err)
		}
		_, known, _ := unstructured.NestedSlice(plain, "access", "calls")
		for how, got := range map[string]bool{
			"copied": spec.DeepCopy().Access.Calls != nil, "written and read": again.Access.Calls != nil, "to expressions": known, "converted": converted.Access.Calls != nil,
		} {
			if got != c.stated {
				t.Errorf("%s, %s: calls are stated: %v", c.text, how, got)
			}
		}
	}
}

// Whom an Application says that it calls changes nothing for anybody but its own proxy,
// and that one lets out what both sides state, and nothing else.
func TestStatingCallsNeverWidensAnything(t *testing.T) {
	called, refused := 0, 0
	for seed := range uint64(callWorlds) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := callWorld(r)
		before := compile.Compile(model.NewSnapshot(in))
		caller := in.Applications[r.IntN(len(in.Applications))].DeepCopy()
		caller.Spec.Access.Calls = []v1alpha1.Call{} // nobody, to begin with
		for i := range r.IntN(5) {
			caller.Spec.Access.Calls = append(caller.Spec.Access.Calls, randomCall(r, i))
		}
		i := slices.IndexFunc(in.Applications, func(a *v1alpha1.Application) bool { return a.Name == caller.Name })
		in.Applications = slices.Clone(in.Applications)
		in.Applications[i] = caller
		after := compile.Compile(model.NewSnapshot(in))
		checkObjects(t, after)
		var rest []compile.Object
		var sidecars []*networkingv1.Sidecar
		for _, o := range after.Objects {
			switch v := o.Value.(type) {
			case *networkingv1.Sidecar:
				sidecars = append(sidecars, v)
			case *networkingv1.ServiceEntry:
				if v.Namespace != caller.Namespace || !slices.Equal(v.Spec.ExportTo, []string{"."}) {
					t.Fatalf("seed %d: %s is known beyond the namespace of who calls it", seed, o.Ref)
				}
			default:
				rest = append(rest, o)
			}
		}
		if was, is := objectsText(t, before), objectsText(t, &compile.Outcome{Objects: rest}); !bytes.Equal(was, is) {
			t.Fatalf("seed %d: calls change what others enforce: %s", seed, firstDifference(string(was), string(is)))
		}
		if len(sidecars) != 1 || sidecars[0].Spec.OutboundTrafficPolicy.Mode != networkingapi.OutboundTrafficPolicy_REGISTRY_ONLY {
			t.Fatalf("seed %d: %d Sidecars, want one that lets out only what is listed", seed, len(sidecars))
		}
		var mesh []string
		for _, host := range sidecars[0].Spec.Egress[0].Hosts {
			if !strings.HasPrefix(host, "./") {
				mesh = append(mesh, host)
			} else if host != "./api.example.com" {
				t.Fatalf("seed %d: %s is let out as an external host", seed, host)
			}
		}
		slices.Sort(mesh)
		if want := reachable(in, caller); !slices.Equal(mesh, want) {
			t.Fatalf("seed %d: %s may call %v, and both sides state %v\n%+v", seed, caller.Name, mesh, want, caller.Spec.Access.Calls)
		}
		called += len(mesh) - 1
		for _, f := range after.Findings {
			if f.Reason == "CallNotAdmitted" {
				refused++
			}
		}
	}
	if called < callWorlds/10 || refused < callWorlds/10 {
		t.Errorf("%d calls let out and %d refused: the generator is lopsided", called, refused)
	}
}
