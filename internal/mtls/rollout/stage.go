// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout knows how a mesh comes to take mutual TLS only: by which stages, in
// which order, what each of them changes, and what stands in the way of it.
//
// It is pure.
package rollout

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/directory"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// managedBy is the label by which a stage's PeerAuthentication is told from others: its
// value is v1alpha1.RolloutManager.
const managedBy = "app.kubernetes.io/managed-by"

// objectName is the name of a stage's PeerAuthentication for a whole namespace; that
// for a Service has the Service's name behind it, which is a DNS label.
const objectName = "trellis-rollout"

// Stage is what takes mutual TLS only after one step.
type Stage struct {
	Kind v1alpha1.RolloutStageKind `json:"kind"`
	// Name is NAMESPACE/SERVICE, or NAMESPACE where a stage is a whole namespace.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Services are those whose workloads it is about, as NAMESPACE/NAME, in order.
	Services []string `json:"services"`
	// Mode is what the workloads take today, the weakest of them.
	Mode resolve.Mode `json:"mode"`
	// Object is the PeerAuthentication that makes the stage.
	Object *securityv1.PeerAuthentication `json:"-"`
	// Refusals are why it would not make it.
	Refusals []Refusal `json:"refusals,omitempty"`
	// Clients are how many clients get on today and go on to (Judge).
	Clients int `json:"clients"`
	// Conflicts are clients that get on today and would not; of workloads that take
	// mutual TLS only already, those that send plaintext (Judge).
	Conflicts []Conflict `json:"-"`

	// workloads are the addresses of its workloads.
	workloads map[netip.Addr]bool
	// callers are how many clients get on today.
	callers int
}

// Done reports whether the workloads take mutual TLS only already.
func (s *Stage) Done() bool { return s.Mode == resolve.Strict }

// Conflict is a client and a port at which it would not get on.
type Conflict struct {
	// Client is NAMESPACE/NAME.
	Client string `json:"client"`
	// Proxied is false for a client without a proxy: it can only send plaintext, and
	// that it exists does not say that it ever calls.
	Proxied bool `json:"proxied"`
	// Port is that of the service.
	Port uint16 `json:"port"`
	Why  string `json:"why"`
}

// Mesh is what stages are found in.
type Mesh struct {
	World    *ask.World
	Checker  *mtls.Checker
	Policies *resolve.Resolver
	// Owner is the statement that Trellis made an object for, as "Application
	// shop/cart"; empty for objects of others.
	Owner func(metav1.Object) string
}

// Scope is what stages are looked for.
type Scope struct {
	Kind v1alpha1.RolloutStageKind
	// In says which namespaces.
	In func(namespace string) bool
	// Rollout is the MutualTLSRollout whose stages they are; empty: nobody's, and the
	// objects have no labels.
	Rollout string
}

// Stages are all of a scope, those that are done among them, in order of their names.
// There is none for a Service without a selector, for hosts of ServiceEntries, which
// are reached by the Services and namespaces of their workloads, or where no workload
// has a sidecar. Nothing is said of clients yet (Judge).
func Stages(m Mesh, scope Scope) []Stage {
	f := &finder{Mesh: m, scope: scope, at: map[netip.Addr][]*directory.Service{}}
	for _, s := range m.World.Directory.Services() {
		if s.External {
			continue
		}
		for _, address := range s.Endpoints {
			f.at[address] = append(f.at[address], s)
		}
	}
	if scope.Kind == v1alpha1.StageNamespace {
		return f.namespaces()
	}
	return f.services()
}

// finder looks for stages.
type finder struct {
	Mesh
	scope Scope
	// at are the Services of each endpoint.
	at map[netip.Addr][]*directory.Service
}

func (f *finder) services() []Stage {
	var out []Stage
	for _, t := range f.Checker.Targets() {
		s := t.Service
		if s.External || len(s.Selector) == 0 || !f.scope.In(s.Name.Namespace) {
			continue
		}
		var nodes []xds.Node
		for _, address := range s.Endpoints {
			for _, n := range f.World.Proxies.At(address) {
				if n.Type == xds.Sidecar && n.Namespace == s.Name.Namespace {
					nodes = append(nodes, n)
				}
			}
		}
		stage := Stage{Kind: v1alpha1.StageService, Name: full(s.Name), Namespace: s.Name.Namespace}
		stage.Object = f.object(s.Name.Namespace, objectName+"-"+s.Name.Name, s.Selector)
		if f.complete(&stage, nodes) {
			out = append(out, stage)
		}
	}
	return out
}

func (f *finder) namespaces() []Stage {
	found := map[string][]xds.Node{}
	for _, n := range f.World.Nodes {
		if n.Type == xds.Sidecar && f.scope.In(n.Namespace) {
			found[n.Namespace] = append(found[n.Namespace], n)
		}
	}
	var out []Stage
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		stage := Stage{Kind: v1alpha1.StageNamespace, Name: namespace, Namespace: namespace}
		stage.Object = f.object(namespace, objectName, nil)
		if f.complete(&stage, found[namespace]) {
			out = append(out, stage)
		}
	}
	return out
}

var strict = &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT}

// object is the PeerAuthentication of a stage. One that was made already keeps its age,
// since of two that contradict each other the older one counts.
func (f *finder) object(namespace, name string, selector map[string]string) *securityv1.PeerAuthentication {
	out := &securityv1.PeerAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: "security.istio.io/v1", Kind: "PeerAuthentication"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}
	if f.scope.Rollout != "" {
		out.Labels = map[string]string{managedBy: v1alpha1.RolloutManager, v1alpha1.RolloutLabel: f.scope.Rollout}
	}
	if len(selector) > 0 {
		out.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: maps.Clone(selector)}
	}
	out.Spec.Mtls = strict.DeepCopy()
	if there := f.Policies.Authentication(nameOf(out)); there != nil && ours(there) {
		out.CreationTimestamp = there.CreationTimestamp
	}
	return out
}

// complete says of a stage what follows from its workloads; false: it has none.
func (f *finder) complete(stage *Stage, nodes []xds.Node) bool {
	stage.Mode, stage.workloads = resolve.Strict, map[netip.Addr]bool{}
	for _, n := range nodes {
		for _, address := range n.Addresses {
			stage.workloads[address] = true
			for _, s := range f.at[address] {
				if name := full(s.Name); s.Name.Namespace == n.Namespace && !slices.Contains(stage.Services, name) {
					stage.Services = append(stage.Services, name)
				}
			}
		}
		for _, trace := range f.traces(n) {
			if weaker(trace.Mode, stage.Mode) {
				stage.Mode = trace.Mode
			}
		}
	}
	slices.Sort(stage.Services)
	if !stage.Done() {
		stage.Refusals = f.refusals(stage, nodes)
	}
	return len(nodes) > 0
}

// traces say what a workload takes at each port of which anything is said: by Services,
// by its PeerAuthentication, and for all others.
func (f *finder) traces(n xds.Node) []*resolve.ModeTrace {
	of := resolve.Workload{Namespace: n.Namespace, Labels: n.Labels}
	all := f.Policies.PeerAuthentication(of, 0)
	ports := map[uint16]bool{}
	for _, address := range n.Addresses {
		for _, s := range f.at[address] {
			for _, p := range s.Ports {
				ports[s.TargetAt(p, address)] = true
			}
		}
	}
	if w := all.Counts(resolve.WorkloadLevel); w != nil {
		for port := range w.Spec.GetPortLevelMtls() {
			ports[uint16(port)] = true
		}
	}
	delete(ports, 0)
	out := []*resolve.ModeTrace{all}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if captured, _ := n.Inbound(port); captured == xds.Past {
			// No PeerAuthentication changes what the application takes.
			continue
		}
		out = append(out, f.Policies.PeerAuthentication(of, port))
	}
	return out
}

func weaker(a, b resolve.Mode) bool { return strength(a) < strength(b) }

func strength(m resolve.Mode) int {
	return slices.Index([]resolve.Mode{resolve.Disable, resolve.Permissive, resolve.Strict}, m)
}

// ours reports whether a rollout made a PeerAuthentication.
func ours(p *securityv1.PeerAuthentication) bool {
	named := p.Name == objectName || strings.HasPrefix(p.Name, objectName+"-")
	return named && p.Labels[managedBy] == v1alpha1.RolloutManager
}

func full(n model.Name) string { return n.Namespace + "/" + n.Name }

func nameOf(o metav1.Object) model.Name {
	return model.Name{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Labels are those of a selector in one word, in order.
func Labels(selector map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		out = append(out, k+"="+selector[k])
	}
	return cmp.Or(strings.Join(out, ","), "all")
}
