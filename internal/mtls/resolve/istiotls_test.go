// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/config/memory"
	pilot "istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/xds/endpoints"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/config/labels"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/gvk"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/mtls/resolve"
)

func (d dice) tls() *networkingapi.ClientTLSSettings {
	if d.in(40) {
		return nil
	}
	s := &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_TLSmode(d.IntN(4))}
	if d.in(70) {
		s.ClientCertificate, s.PrivateKey = "/cert", "/key"
	}
	if d.in(20) {
		s.CredentialName = one(d, "secret", "configmap://roots")
	}
	return s
}

func (d dice) trafficPolicy() *networkingapi.TrafficPolicy {
	if d.in(25) {
		return nil
	}
	p := &networkingapi.TrafficPolicy{Tls: d.tls()}
	for range d.IntN(3) {
		e := &networkingapi.TrafficPolicy_PortTrafficPolicy{Tls: d.tls()}
		if d.in(95) {
			e.Port = &networkingapi.PortSelector{Number: one[uint32](d, 80, 80, 443, 9999)}
		}
		p.PortLevelSettings = append(p.PortLevelSettings, e)
	}
	return p
}

// tlsRules are one for each of many services, which the services are given with.
func tlsRules(d dice) ([]*networkingv1.DestinationRule, []*pilot.Service) {
	var rules []*networkingv1.DestinationRule
	var known []*pilot.Service
	for i := range 2000 {
		name := fmt.Sprintf("s%d", i)
		o := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
		o.Spec.Host, o.Spec.TrafficPolicy = name+".shop.svc.cluster.local", d.trafficPolicy()
		for _, subset := range []string{"v1", "v2"} {
			o.Spec.Subsets = append(o.Spec.Subsets, &networkingapi.Subset{Name: subset, TrafficPolicy: d.trafficPolicy()})
		}
		if d.in(20) {
			o.Spec.WorkloadSelector = &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "a"}}
		}
		rules = append(rules, o)
		known = append(known, &pilot.Service{
			Hostname: host.Name(o.Spec.Host), Attributes: pilot.ServiceAttributes{Name: name, Namespace: "shop"},
			Ports: pilot.PortList{{Name: "tcp", Port: 80, Protocol: "TCP"}, {Name: "tls", Port: 443, Protocol: "TCP"}},
		})
	}
	return rules, known
}

func TestIstioReadsTheSameTLS(t *testing.T) {
	d := diceOf(7)
	rules, known := tlsRules(d)
	r := resolve.New(resolve.Input{DestinationRules: rules})
	store := objects{ConfigStore: memory.MakeSkipValidation(collections.Pilot), of: map[config.GroupVersionKind][]config.Config{}}
	for _, o := range rules {
		store.of[gvk.DestinationRule] = append(store.of[gvk.DestinationRule], config.Config{Meta: config.Meta{
			GroupVersionKind: gvk.DestinationRule, Name: o.Name, Namespace: o.Namespace, Domain: "cluster.local",
		}, Spec: o.Spec.DeepCopy()})
	}
	store.of[gvk.PeerAuthentication] = []config.Config{{
		Meta: config.Meta{GroupVersionKind: gvk.PeerAuthentication, Name: "off", Namespace: "shop"},
		Spec: &securityapi.PeerAuthentication{
			Selector: &typeapi.WorkloadSelector{MatchLabels: map[string]string{"app": "off"}},
			Mtls:     &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_DISABLE},
		},
	}}
	p := push(store, mesh.DefaultMeshConfig(), known)
	asked, apart, dropped := 0, 0, 0
	for _, client := range []resolve.Client{{Namespace: "shop", Labels: map[string]string{"app": "a"}}, {Namespace: "shop", Labels: map[string]string{"app": "a"}, Gateway: true}} {
		proxy := proxyOf(p, client)
		proxy.IstioVersion = pilot.MaxIstioVersion
		built := clustersOf(t, p, proxy)
		for _, s := range known {
			trace := r.DestinationRule(client, resolve.Service{Host: string(s.Hostname), Namespace: "shop"})
			for _, port := range s.Ports {
				for _, subset := range []string{"", "v1", "v2"} {
					name := pilot.BuildSubsetKey(pilot.TrafficDirectionOutbound, subset, s.Hostname, port.Port)
					got := trace.TLS(uint16(port.Port), subset)
					if want := clusterMode(built[name]); sent(got) != want {
						t.Fatalf("%s as a gateway %t: the cluster has %s, Istio's %s\n%+v\n%v", name, client.Gateway, sent(got), want, got, trace.Rule.TrafficPolicy)
					}
					if want := markedBy(name, proxy, p, s, port); marked(got) != want {
						t.Fatalf("%s: the endpoints are marked as %s, Istio's %s\n%+v", name, marked(got), want, got)
					}
					checkField(t, rules, got)
					asked++
					if !got.Agree() {
						apart++
					}
					if got.Dropped != "" {
						dropped++
					}
				}
			}
		}
	}
	t.Logf("%d questions, %d with two answers, %d where TLS is dropped", asked, apart, dropped)
	if apart < asked/20 || dropped < asked/50 {
		t.Errorf("of %d questions only %d have two answers and %d drop TLS", asked, apart, dropped)
	}
}

// checkField checks that what was found is where it is said to be.
func checkField(t *testing.T, rules []*networkingv1.DestinationRule, got resolve.TLSTrace) {
	t.Helper()
	for _, view := range []resolve.TLSView{got.Cluster, got.Endpoints} {
		if (view.Part == resolve.NoPart) != (view.Field == "") || view.Settings != nil && view.Part == resolve.NoPart {
			t.Fatalf("view %+v", view)
		}
		if view.Settings == nil {
			continue
		}
		found := false
		for _, o := range rules {
			if o.Name == view.Object.Name {
				for field, settings := range fieldsOf(&o.Spec) {
					found = found || field == view.Field && settings == view.Settings
				}
			}
		}
		if !found {
			t.Fatalf("there is no such field as of %+v", view)
		}
	}
	if got.Why() == "" {
		t.Fatalf("no sentence: %+v", got)
	}
}

// fieldsOf are all tls of a rule.
func fieldsOf(spec *networkingapi.DestinationRule) map[string]*networkingapi.ClientTLSSettings {
	out := map[string]*networkingapi.ClientTLSSettings{}
	add := func(at string, p *networkingapi.TrafficPolicy) {
		out[at+".tls"] = p.GetTls()
		for i, e := range p.GetPortLevelSettings() {
			out[fmt.Sprintf("%s.portLevelSettings[%d].tls", at, i)] = e.GetTls()
		}
	}
	add("spec.trafficPolicy", spec.GetTrafficPolicy())
	for i, s := range spec.GetSubsets() {
		add(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.GetTrafficPolicy())
	}
	return out
}

func clustersOf(t *testing.T, p *pilot.PushContext, proxy *pilot.Proxy) map[string]*clusterv3.Cluster {
	t.Helper()
	raw, _ := core.NewConfigGenerator(&pilot.DisabledCache{}).BuildClusters(proxy, &pilot.PushRequest{Push: p})
	out := map[string]*clusterv3.Cluster{}
	for _, one := range raw {
		c := &clusterv3.Cluster{}
		if err := one.GetResource().UnmarshalTo(c); err != nil {
			t.Fatal(err)
		}
		out[c.GetName()] = c
	}
	return out
}

// sent is what a trace says of a cluster, in the words of clusterMode.
func sent(got resolve.TLSTrace) string {
	switch mode := got.Cluster.Mode(); {
	case got.NoCluster:
		return "no cluster"
	case got.Dropped != "" || mode == "DISABLE":
		return "plaintext"
	case mode == "":
		return "auto"
	default:
		return mode
	}
}

// clusterMode reads how a cluster of Istio's sends.
func clusterMode(c *clusterv3.Cluster) string {
	text := c.GetTransportSocket().String()
	switch {
	case c == nil:
		return "no cluster"
	case len(c.GetTransportSocketMatches()) > 0:
		return "auto"
	case c.GetTransportSocket() == nil:
		return "plaintext"
	case strings.Contains(text, `"ROOTCA"`):
		return "ISTIO_MUTUAL"
	case strings.Contains(text, "tls_certificate_sds_secret_configs"):
		return "MUTUAL"
	}
	return "SIMPLE"
}

// marked is what a trace says of two endpoints with sidecars: of one that accepts mTLS
// and of one that does not.
func marked(got resolve.TLSTrace) string {
	switch mode := got.Endpoints.Mode(); mode {
	case "":
		return "[true false]"
	case "ISTIO_MUTUAL":
		return "[true true]"
	}
	return "[false false]"
}

// markedBy has Istio mark the same.
func markedBy(name string, proxy *pilot.Proxy, p *pilot.PushContext, s *pilot.Service, port *pilot.Port) string {
	shards := pilot.NewEndpointIndex(pilot.DisabledCache{})
	var of []*pilot.IstioEndpoint
	for i, app := range []string{"on", "off"} {
		of = append(of, &pilot.IstioEndpoint{
			Addresses: []string{fmt.Sprintf("192.0.2.%d", i+1)}, EndpointPort: 8080, ServicePortName: port.Name, TLSMode: pilot.IstioMutualTLSModeLabel,
			Namespace: "shop", Labels: labels.Instance{"app": app}, HostName: string(s.Hostname),
		})
	}
	shards.UpdateServiceEndpoints(pilot.ShardKey{}, string(s.Hostname), "shop", of, false)
	builder := endpoints.NewEndpointBuilder(name, proxy, p)
	var out []bool
	for _, locality := range builder.BuildClusterLoadAssignment(shards).GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			_, mutual := e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"].GetFields()["tlsMode"]
			out = append(out, mutual)
		}
	}
	return fmt.Sprint(out)
}
