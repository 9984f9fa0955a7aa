// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"istio.io/istio/pilot/pkg/config/memory"
	pilot "istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/security/authn"
	memregistry "istio.io/istio/pilot/pkg/serviceregistry/memory"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/config/labels"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube/krt"
	"istio.io/istio/pkg/log"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

// dice throws the same every time.
type dice struct {
	*rand.Rand
	// narrow has most objects be about one service, so that they meet.
	narrow bool
}

func diceOf(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 20261128)), seed%2 == 1} }

func (d dice) in(percent int) bool { return d.IntN(100) < percent }

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

var (
	spaces = []string{"istio-system", "shop", "front", "store"}
	names  = []string{"cart", "web"}
	apps   = []map[string]string{nil, {"app": "a"}, {"app": "b"}, {"app": "a", "tier": "x"}}
)

func (d dice) labels() map[string]string { return one(d, apps...) }

func (d dice) meta(i int) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: fmt.Sprintf("%s%d", one(d, "a", "b", "c"), i), Namespace: one(d, spaces...)}
	if d.narrow && d.in(75) {
		m.Namespace = "shop"
	}
	if d.in(70) {
		m.CreationTimestamp = metav1.NewTime(time.Unix(1000+int64(d.IntN(4)), 0))
	}
	return m
}

// services are of all namespaces, with a few hosts of ServiceEntries.
func services() []resolve.Service {
	var out []resolve.Service
	for _, namespace := range spaces {
		for _, name := range names {
			out = append(out, resolve.Service{Host: name + "." + namespace + ".svc.cluster.local", Namespace: namespace})
		}
	}
	return append(out, resolve.Service{Host: "api.example.com", Namespace: "shop"}, resolve.Service{Host: "2001:db8::1", Namespace: "shop"},
		resolve.Service{Host: "*.example.com", Namespace: "front"}, resolve.Service{Host: "*.wild.example.com", Namespace: "store"})
}

func (d dice) ruleHost() string {
	if d.narrow && d.in(75) {
		return one(d, "cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local", "*.shop.svc.cluster.local")
	}
	switch d.IntN(10) {
	case 0, 1:
		return one(d, names...)
	case 2:
		return one(d, "*", "*.local", "*.cluster.local", "*.com", "*.example.com", "*.wild.example.com", "*rt.shop.svc.cluster.local", "2001:db8::1", "*x", "api.example.com")
	case 3:
		return "*." + one(d, spaces...) + ".svc.cluster.local"
	}
	return one(d, names...) + "." + one(d, "shop", "shop", spaces[d.IntN(4)]) + ".svc.cluster.local"
}

func (d dice) exportTo() []string {
	if d.narrow && d.in(60) {
		return one(d, nil, []string{"*"}, []string{"."})
	}
	switch d.IntN(8) {
	case 0:
		return []string{"*"}
	case 1:
		return []string{"."}
	case 2:
		return []string{".", one(d, spaces...)}
	case 3:
		return []string{".", "*"}
	case 4:
		return []string{one(d, spaces...)}
	case 5:
		return []string{one(d, spaces...), one(d, spaces...)}
	}
	return nil
}

func (d dice) rule(i int) *networkingv1.DestinationRule {
	o := &networkingv1.DestinationRule{ObjectMeta: d.meta(i)}
	o.Spec.Host, o.Spec.ExportTo = d.ruleHost(), d.exportTo()
	if d.in(30) {
		o.Spec.WorkloadSelector = &typeapi.WorkloadSelector{MatchLabels: d.labels()}
	}
	if d.in(60) {
		o.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{Sni: o.Namespace + o.Name}}
	}
	for range d.IntN(3) {
		// The SNI says whose a subset is.
		o.Spec.Subsets = append(o.Spec.Subsets, &networkingapi.Subset{
			Name: one(d, "v1", "v2", "v3"), TrafficPolicy: &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{Sni: o.Namespace + o.Name}},
		})
	}
	return o
}

func (d dice) policy(i int) *securityv1.PeerAuthentication {
	mode := func() *securityapi.PeerAuthentication_MutualTLS {
		if d.in(20) {
			return nil
		}
		return &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_Mode(d.IntN(4))}
	}
	o := &securityv1.PeerAuthentication{ObjectMeta: d.meta(i)}
	o.Spec.Mtls = mode()
	if d.in(60) {
		o.Spec.Selector = &typeapi.WorkloadSelector{MatchLabels: d.labels()}
	}
	if d.in(60) {
		o.Spec.PortLevelMtls = map[uint32]*securityapi.PeerAuthentication_MutualTLS{}
		for range d.IntN(5) {
			o.Spec.PortLevelMtls[one[uint32](d, 80, 8080, 9090)] = mode()
		}
	}
	return o
}

func (d dice) input() resolve.Input {
	in := resolve.Input{RootNamespace: one(d, "", "", "", "shop"), DefaultExportTo: one(d, nil, nil, []string{"*"}, []string{"."}, []string{"front"}, []string{".", "*"})}
	for i := range 1 + d.IntN(9) {
		in.DestinationRules = append(in.DestinationRules, d.rule(i))
	}
	for i := range d.IntN(8) {
		in.PeerAuthentications = append(in.PeerAuthentications, d.policy(i))
	}
	return in
}

// objects are a store that leaves objects without a time of creation as they are.
type objects struct {
	pilot.ConfigStore
	of map[config.GroupVersionKind][]config.Config
}

// List implements model.ConfigStore.
func (o objects) List(kind config.GroupVersionKind, _ string) []config.Config { return o.of[kind] }

// istio is what Istio's own code makes of the same input.
func istio(in resolve.Input) *pilot.PushContext {
	store := objects{ConfigStore: memory.MakeSkipValidation(collections.Pilot), of: map[config.GroupVersionKind][]config.Config{}}
	add := func(kind config.GroupVersionKind, meta metav1.ObjectMeta, spec config.Spec) {
		store.of[kind] = append(store.of[kind], config.Config{Meta: config.Meta{
			GroupVersionKind: kind, Name: meta.Name, Namespace: meta.Namespace, CreationTimestamp: meta.CreationTimestamp.Time, Domain: "cluster.local",
		}, Spec: spec})
	}
	for _, o := range in.DestinationRules {
		// Istio writes the whole host into the object.
		add(gvk.DestinationRule, o.ObjectMeta, o.Spec.DeepCopy())
	}
	for _, o := range in.PeerAuthentications {
		add(gvk.PeerAuthentication, o.ObjectMeta, o.Spec.DeepCopy())
	}
	var known []*pilot.Service
	for _, s := range services() {
		known = append(known, &pilot.Service{
			Hostname: host.Name(s.Host), Attributes: pilot.ServiceAttributes{Name: s.Host, Namespace: s.Namespace},
			Ports: pilot.PortList{{Name: "http", Port: 80, Protocol: "HTTP"}},
		})
	}
	return push(store, meshOf(in), known)
}

func meshOf(in resolve.Input) *meshconfig.MeshConfig {
	m := mesh.DefaultMeshConfig()
	m.DefaultDestinationRuleExportTo = in.DefaultExportTo
	if in.RootNamespace != "" {
		m.RootNamespace = in.RootNamespace
	}
	return m
}

var silence = sync.OnceFunc(func() {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
})

// noRoutes stands for the VirtualServices, of which there are none.
var noRoutes = sync.OnceValue(func() *pilot.VirtualServiceController {
	return pilot.NewVirtualServiceController(memory.NewController(memory.MakeSkipValidation(collections.Pilot)),
		pilot.VSControllerOptions{KrtDebugger: krt.GlobalDebugHandler}, meshwatcher.NewTestWatcher(mesh.DefaultMeshConfig()))
})

func push(store pilot.ConfigStore, m *meshconfig.MeshConfig, known []*pilot.Service) *pilot.PushContext {
	silence()
	env := pilot.NewEnvironment()
	env.Watcher, env.NetworksWatcher = meshwatcher.NewTestWatcher(m), meshwatcher.NewFixedNetworksWatcher(nil)
	env.ServiceDiscovery, env.ConfigStore = memregistry.NewServiceDiscovery(known...), store
	env.VirtualServiceController = noRoutes()
	env.Init()
	if err := env.InitNetworksManager(pilot.NewEndpointIndexUpdater(env.EndpointIndex)); err != nil {
		panic(err)
	}
	p := env.PushContext()
	p.InitContext(env, nil, nil)
	return p
}

func proxyOf(p *pilot.PushContext, client resolve.Client) *pilot.Proxy {
	proxy := &pilot.Proxy{
		Type: pilot.SidecarProxy, ID: "a." + client.Namespace, ConfigNamespace: client.Namespace, Labels: client.Labels,
		Metadata: &pilot.NodeMetadata{Namespace: client.Namespace, Labels: client.Labels}, IPAddresses: []string{"192.0.2.1"},
	}
	if client.Gateway {
		proxy.Type = pilot.Router
	}
	proxy.SetSidecarScope(p)
	proxy.SetGatewaysForProxy(p)
	proxy.DiscoverIPMode()
	return proxy
}

func TestIstioChoosesTheSameRule(t *testing.T) {
	asked, found, merged, selected, lost := 0, 0, 0, 0, 0
	reasons := map[resolve.Reason]int{}
	for seed := range uint64(3000) {
		d := diceOf(seed)
		in := d.input()
		p, r := istio(in), resolve.New(in)
		for _, namespace := range spaces {
			for _, l := range apps {
				client := resolve.Client{Namespace: namespace, Labels: l, Gateway: d.in(20)}
				proxy := proxyOf(p, client)
				for _, service := range services() {
					want := proxy.SidecarScope.DestinationRule(pilot.TrafficDirectionOutbound, proxy, host.Name(service.Host))
					trace := r.DestinationRule(client, service)
					if problem := differs(trace.Rule, want); problem != "" {
						t.Fatalf("seed %d: %+v to %+v: %s\ncandidates %+v", seed, client, service, problem, trace.Candidates())
					}
					checkCandidates(t, trace)
					if d.in(10) {
						checkReasons(t, in, trace, reasons)
					}
					asked++
					if trace.Rule == nil {
						if len(trace.Candidates()) > 0 {
							lost++
						}
						continue
					}
					found++
					if len(trace.Rule.Merged) > 0 {
						merged++
					}
					if _, has := trace.Rule.Selector(); has {
						selected++
					}
				}
			}
		}
	}
	t.Logf("%d questions: %d with a rule (%d merged, %d by selector), %d with candidates and none", asked, found, merged, selected, lost)
	t.Logf("reasons that were tried: %v", reasons)
	if len(reasons) != 12 {
		t.Errorf("%d reasons occur", len(reasons))
	}
	for _, count := range []int{found, merged, selected, lost} {
		if count < asked/200 {
			t.Errorf("only %d of one sort among %d questions", count, asked)
		}
	}
}

func differs(got *resolve.Rule, want *pilot.ConsolidatedDestRule) string {
	if got == nil || want == nil {
		if got == nil && want == nil {
			return ""
		}
		return fmt.Sprintf("rule %+v, Istio has %+v", got, want.GetFrom())
	}
	var gotText, wantText []string
	wantText = append(wantText, want.GetRule().Namespace+"/"+want.GetRule().Name)
	gotText = append(gotText, got.Name.Namespace+"/"+got.Name.Name, got.Name.Namespace+"/"+got.Name.Name)
	for _, name := range want.GetFrom() {
		wantText = append(wantText, name.String())
	}
	for _, name := range got.Merged {
		gotText = append(gotText, name.Namespace+"/"+name.Name)
	}
	spec, _ := want.GetRule().Spec.(*networkingapi.DestinationRule)
	wantText = append(wantText, spec.GetHost(), spec.GetTrafficPolicy().GetTls().GetSni())
	gotText = append(gotText, got.Host, got.TrafficPolicy.GetTls().GetSni())
	if from := got.PolicyFrom.Namespace + got.PolicyFrom.Name; got.TrafficPolicy != nil && from != got.TrafficPolicy.GetTls().GetSni() {
		return "the trafficPolicy is said to be of " + from
	}
	for _, s := range spec.GetSubsets() {
		wantText = append(wantText, s.GetName()+" of "+s.GetTrafficPolicy().GetTls().GetSni())
	}
	for _, s := range got.Subsets {
		gotText = append(gotText, s.GetName()+" of "+s.From.Namespace+s.From.Name)
	}
	if !slices.Equal(gotText, wantText) {
		return fmt.Sprintf("rule %v, Istio has %v", gotText, wantText)
	}
	return ""
}

// checkCandidates checks that the trace tells of all rules once, and of those that are
// in force that they are.
func checkCandidates(t *testing.T, trace *resolve.RuleTrace) {
	t.Helper()
	seen := map[string]bool{}
	var chosen []string
	for _, c := range trace.Candidates() {
		name := c.Name.Namespace + "/" + c.Name.Name
		if c.Why == "" || c.Place == "" || seen[name] {
			t.Fatalf("candidate %+v", c)
		}
		seen[name] = true
		if c.Chosen() {
			chosen = append(chosen, name)
			if c.Place != trace.Place || c.Match == resolve.NoMatch {
				t.Fatalf("candidate %+v is in force, the rule is of the %s", c, trace.Place)
			}
		}
	}
	want := 0
	if trace.Rule != nil {
		want = 1 + len(trace.Rule.Merged)
	}
	if len(chosen) != want {
		t.Fatalf("candidates in force %v, of %d", chosen, want)
	}
}

// checkReasons tries reasons: what is said not to depend on other rules is the same
// without them, and otherwise a rule that is alone is in force; and what cannot decide is
// not missed.
func checkReasons(t *testing.T, in resolve.Input, trace *resolve.RuleTrace, tried map[resolve.Reason]int) {
	t.Helper()
	for _, c := range trace.Candidates() {
		own := func(o *networkingv1.DestinationRule) bool {
			return o.Namespace == c.Name.Namespace && o.Name == c.Name.Name
		}
		alone, without := in, in
		alone.DestinationRules, without.DestinationRules = nil, nil
		for _, o := range in.DestinationRules {
			if own(o) {
				alone.DestinationRules = append(alone.DestinationRules, o)
			} else {
				without.DestinationRules = append(without.DestinationRules, o)
			}
		}
		want := resolve.InForce
		switch c.Reason {
		case resolve.OtherHost, resolve.OtherNamespace, resolve.Private:
			rest := resolve.New(without).DestinationRule(trace.Client, trace.Service)
			if (rest.Rule == nil) != (trace.Rule == nil) || rest.Rule != nil && rest.Rule.Name != trace.Rule.Name {
				t.Fatalf("without %+v it is %+v, with it %+v", c, rest.Rule, trace.Rule)
			}
			want = c.Reason
		case resolve.NotExported, resolve.NotSelected:
			want = c.Reason
		}
		got := resolve.New(alone).DestinationRule(trace.Client, trace.Service).Candidates()
		if len(got) != 1 || got[0].Reason != want {
			t.Fatalf("%+v alone is %+v", c, got)
		}
		tried[c.Reason]++
	}
}

func TestIstioGivesTheSameModes(t *testing.T) {
	asked := 0
	levels := map[resolve.Level]int{}
	reasons := map[resolve.PolicyReason]int{}
	for seed := range uint64(4000) {
		d := diceOf(seed + 1<<32)
		in := d.input()
		in.DestinationRules = nil
		p, r := istio(in), resolve.New(in)
		for _, namespace := range append(spaces, "empty") {
			service := p.AuthnPolicies.GetNamespaceMutualTLSMode(namespace)
			if service == pilot.MTLSUnknown {
				service = pilot.MTLSPermissive
			}
			if got := r.NamespaceMode(namespace); string(got.Mode) != service.String() {
				t.Fatalf("seed %d: services of %s %s, Istio has %s\ncandidates %+v", seed, namespace, got.Mode, service, got.Candidates())
			}
			for _, l := range apps {
				applier := authn.NewMtlsPolicy(p, p.AuthnPolicies, namespace, labels.Instance(l), false)
				for _, port := range []uint16{0, 80, 8080, 9090} {
					trace := r.PeerAuthentication(resolve.Workload{Namespace: namespace, Labels: l}, port)
					if want := applier.GetMutualTLSModeForPort(uint32(port)).String(); string(trace.Mode) != want {
						t.Fatalf("seed %d: %s %v port %d: %s, Istio has %s\ncandidates %+v", seed, namespace, l, port, trace.Mode, want, trace.Candidates())
					}
					checkPolicies(t, in, trace, reasons, d.in(10))
					asked++
					levels[trace.Level]++
				}
			}
		}
	}
	t.Logf("%d questions, by level %v; reasons that were tried: %v", asked, levels, reasons)
	if len(reasons) != 4 {
		t.Errorf("%d reasons occur", len(reasons))
	}
	for _, level := range []resolve.Level{resolve.DefaultLevel, resolve.MeshLevel, resolve.NamespaceLevel, resolve.WorkloadLevel, resolve.PortLevel} {
		if levels[level] < asked/200 {
			t.Errorf("only %d answers are of level %q", levels[level], level)
		}
	}
}

// checkPolicies checks that the trace names the one that decides, and that nothing
// changes without those of which it is said that they do not count.
func checkPolicies(t *testing.T, in resolve.Input, trace *resolve.ModeTrace, tried map[resolve.PolicyReason]int, try bool) {
	t.Helper()
	decide := 0
	for _, c := range trace.Candidates() {
		if c.Why == "" || c.Reason == "" {
			t.Fatalf("candidate %+v", c)
		}
		if c.Reason == resolve.Decides {
			decide++
		}
		if c.Reason == resolve.Decides || c.Reason == resolve.Inherits || !try {
			continue
		}
		without := resolve.Input{RootNamespace: in.RootNamespace}
		for _, o := range in.PeerAuthentications {
			if o.Namespace != c.Name.Namespace || o.Name != c.Name.Name {
				without.PeerAuthentications = append(without.PeerAuthentications, o)
			}
		}
		if got := resolve.New(without).PeerAuthentication(trace.Workload, trace.Port); got.Mode != trace.Mode || got.Policy != trace.Policy {
			t.Fatalf("without %+v it is %s", c, got.Mode)
		}
		tried[c.Reason]++
	}
	if want := min(1, len(trace.Level)); decide != want {
		t.Fatalf("%d candidates decide on level %q", decide, trace.Level)
	}
}
