// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide_test

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trellis-mesh/trellis/internal/decide"
	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// A mesh of two: a gateway at one address and an application behind it.
var (
	gatewayAt     = netip.MustParseAddrPort("10.0.0.1:8080")
	applicationAt = netip.MustParseAddrPort("10.0.0.2:9080")
	client        = netip.MustParseAddrPort("203.0.113.1:5000")
	gatewayNode   = xds.Node{Type: xds.Router, Namespace: "edge", Name: "gateway", ServiceAccount: "gateway", TrustDomain: "cluster.local", Addresses: []netip.Addr{gatewayAt.Addr()}}
	shopNode      = xds.Node{Type: xds.Sidecar, Namespace: "shop", Name: "cart", ServiceAccount: "cart", TrustDomain: "cluster.local", Addresses: []netip.Addr{applicationAt.Addr()}}
)

func packed(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return out
}

func socket(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(config)}}
}

// serve is a listener of HTTP with filters in front of routes.
func serve(at netip.AddrPort, tls *tlsv3.DownstreamTlsContext, action any, filters ...*hcmv3.HttpFilter) *listenerv3.Listener {
	route := &routev3.Route{Name: "the-route", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
	switch a := action.(type) {
	case *routev3.RouteAction:
		route.Action = &routev3.Route_Route{Route: a}
	case *routev3.RedirectAction:
		route.Action = &routev3.Route_Redirect{Redirect: a}
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "routes", VirtualHosts: []*routev3.VirtualHost{{Name: "shop", Domains: []string{"shop.example.com"}, Routes: []*routev3.Route{route}}},
		}},
		HttpFilters: append(filters, filter("router", &routerv3.Router{})),
	}
	chain := &listenerv3.FilterChain{Name: "http", Filters: []*listenerv3.Filter{{
		Name: "manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(manager)},
	}}}
	if tls != nil {
		chain.TransportSocket = &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(tls)}}
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
	}
	return &listenerv3.Listener{
		Name: at.String(), Address: socket(at), FilterChains: []*listenerv3.FilterChain{chain},
		ListenerFilters: []*listenerv3.ListenerFilter{{
			Name: "tls_inspector", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(&inspectorv3.TlsInspector{})},
		}},
	}
}

func to(cluster string) *routev3.RouteAction {
	return &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}
}

// sds is the mesh's certificate of a workload and the roots that it trusts.
func sds() *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default"}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tlsv3.CertificateValidationContext{},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA"},
		}},
	}
}

func strict() *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: sds(), RequireClientCertificate: wrapperspb.Bool(true)}
}

func endpoints(name string, mutual bool, at ...netip.AddrPort) *clusterv3.Cluster {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, a := range at {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(a)}},
		})
	}
	out := &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}},
	}
	if mutual {
		out.TransportSocket = &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: packed(&tlsv3.UpstreamTlsContext{CommonTlsContext: sds()}),
		}}
	}
	return out
}

func policy(action rbacv3.RBAC_Action, name string, principal *rbacv3.Principal) *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{name: {
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}, Principals: []*rbacv3.Principal{principal},
	}}}}
}

var anybody = &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}

// proxies are those of the two.
type proxies map[xds.Key]*xds.Config

func (p proxies) At(address netip.Addr) []xds.Node {
	var out []xds.Node
	for _, c := range p {
		if slices.Contains(c.Node().Addresses, address) {
			out = append(out, c.Node())
		}
	}
	return out
}

func (p proxies) Node(key xds.Key) (xds.Node, bool) {
	c, ok := p[key]
	if !ok {
		return xds.Node{}, false
	}
	return c.Node(), true
}

func (p proxies) Config(node xds.Node) (*xds.Config, error) {
	if c := p[node.Key()]; c != nil {
		return c, nil
	}
	return nil, errors.New("no such proxy")
}

// mesh is the gateway with a listener and clusters, and the application's proxy.
func mesh(gateway, application *listenerv3.Listener, clusters ...*clusterv3.Cluster) proxies {
	out := proxies{}
	add := func(n xds.Node, l *listenerv3.Listener, clusters ...*clusterv3.Cluster) {
		out[n.Key()] = xds.NewConfig(n, xds.Provenance{}, xds.Resources{Listeners: []*listenerv3.Listener{l}, Clusters: clusters})
	}
	add(gatewayNode, gateway, clusters...)
	add(shopNode, application, endpoints("inbound|9080||", false, applicationAt))
	return out
}

func get(path string) *decide.Question {
	return &decide.Question{
		From: decide.Source{Address: client}, To: gatewayAt,
		Request: &hcm.Request{Method: "GET", Target: path, Headers: stream.Raw(stream.Header{Name: "host", Value: "shop.example.com"})},
	}
}

const rule = "ns[shop]-policy[callers]-rule[1]"

func TestARequestEndsWhereItsWayEnds(t *testing.T) {
	inside := serve(applicationAt, strict(), to("inbound|9080||"))
	identity := &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{}}}
	custom := &authzv3.ExtAuthz{Services: &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "authorizer"}},
	}}}
	weighted := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
		Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "shop", Weight: wrapperspb.UInt32(90)}, {Name: "gone", Weight: wrapperspb.UInt32(10)}},
	}}}
	for name, test := range map[string]struct {
		mesh    proxies
		change  func(*decide.Question)
		outcome decide.Outcome
		code    int
		details string
		object  string
	}{
		"mutual TLS leads into the application": {
			mesh: mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true, applicationAt)), outcome: decide.Allow,
		},
		"plaintext to an application that wants mutual TLS is reset": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", false, applicationAt)),
			outcome: decide.Fails, code: 503, details: "upstream_reset_before_response_started{connection_termination}",
		},
		"TLS to an application that speaks plaintext fails": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), serve(applicationAt, nil, to("inbound|9080||")), endpoints("shop", true, applicationAt)),
			outcome: decide.Fails, code: 503, details: "upstream_reset_before_response_started{remote_connection_failure}",
		},
		"a policy of the application's own proxy refuses": {
			mesh: mesh(serve(gatewayAt, nil, to("shop")), serve(applicationAt, strict(), to("inbound|9080||"), filter("rbac", policy(rbacv3.RBAC_DENY, rule, identity))),
				endpoints("shop", true, applicationAt)),
			outcome: decide.Deny, code: 403, details: "rbac_access_denied_matched_policy[" + rule + "]", object: "AuthorizationPolicy shop/callers rule 1",
		},
		"a host that no route has": {
			mesh: mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true, applicationAt)),
			change: func(q *decide.Question) {
				q.Request.Headers = stream.Raw(stream.Header{Name: "host", Value: "other.example.com"})
			},
			outcome: decide.NoRoute, code: 404, details: "route_not_found",
		},
		"a redirect is the gateway's answer": {
			mesh:    mesh(serve(gatewayAt, nil, &routev3.RedirectAction{SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}}), inside),
			outcome: decide.Answered, code: 301, details: "direct_response",
		},
		"a cluster that is not there": {
			mesh: mesh(serve(gatewayAt, nil, to("shop")), inside), outcome: decide.Fails, code: 503, details: "cluster_not_found",
		},
		"a cluster without endpoints": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true)),
			outcome: decide.Fails, code: 503, details: "no_healthy_upstream",
		},
		"an external authorizer whose answer nobody said": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop"), filter("custom", custom)), inside, endpoints("shop", true, applicationAt)),
			outcome: decide.Unknown,
		},
		"an external authorizer that is said to refuse": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop"), filter("custom", custom)), inside, endpoints("shop", true, applicationAt)),
			change:  func(q *decide.Question) { q.Authorizers = map[string]bool{"authorizer": false} },
			outcome: decide.Deny, code: 403, details: "ext_authz_denied",
		},
		"a filter that nobody knows": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop"), filter("strange", &corev3.Node{})), inside, endpoints("shop", true, applicationAt)),
			outcome: decide.Unknown,
		},
		"a circle": {
			mesh:    mesh(serve(gatewayAt, nil, to("again")), inside, endpoints("again", false, gatewayAt)),
			outcome: decide.Unknown,
		},
		"nothing listens there": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true, netip.MustParseAddrPort("10.0.0.2:1"))),
			outcome: decide.Fails, code: 503,
		},
		"weights lead to different ends": {
			mesh:    mesh(serve(gatewayAt, nil, weighted), inside, endpoints("shop", true, applicationAt)),
			outcome: decide.Allow,
		},
		"mutual TLS to where no proxy is fails": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true, netip.MustParseAddrPort("10.0.0.9:80"))),
			outcome: decide.Fails, code: 503, details: "upstream_reset_before_response_started{remote_connection_failure|TLS_error:CERTIFICATE_VERIFY_FAILED}",
		},
		"bytes that are no HTTP": {
			mesh:    mesh(serve(gatewayAt, nil, to("shop")), inside, endpoints("shop", true, applicationAt)),
			change:  func(q *decide.Question) { q.Request = nil },
			outcome: decide.Fails, code: 400,
		},
		"TLS to a listener that has no chain for plaintext": {
			mesh:    mesh(serve(gatewayAt, strict(), to("shop")), inside, endpoints("shop", true, applicationAt)),
			outcome: decide.Fails, details: "filter_chain_not_found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := get("/")
			if test.change != nil {
				test.change(q)
			}
			v := decide.New(test.mesh).Decide(q)
			code, details := 0, ""
			if v.Reply != nil {
				code, details = v.Reply.Code, v.Reply.Details
			}
			if v.Outcome != test.outcome || code != test.code || test.details != "" && details != test.details {
				t.Errorf("decided %s %d %s (%s), want %s %d %s", v.Outcome, code, details, v.Why, test.outcome, test.code, test.details)
			}
			if last := v.Steps[len(v.Steps)-1]; test.object != "" && (last.Object == nil || last.Object.String() != test.object || !last.Stops) {
				t.Errorf("the last step is %+v, want one that %s stops", last, test.object)
			}
			if (v.Outcome == decide.Unknown || v.Outcome == decide.Fails) && v.Why == "" {
				t.Error("it does not say why")
			}
		})
	}
}

func TestTheSharesOfDifferentEndsAddUpToOne(t *testing.T) {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
		Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "gone", Weight: wrapperspb.UInt32(30)}, {Name: "shop", Weight: wrapperspb.UInt32(70)}},
	}}}
	v := decide.New(mesh(serve(gatewayAt, nil, action), serve(applicationAt, strict(), to("inbound|9080||")), endpoints("shop", true, applicationAt))).Decide(get("/"))
	sum := 0.0
	shares := map[decide.Outcome]float64{}
	for _, b := range v.Branches {
		sum += b.Share
		shares[b.Verdict.Outcome] += b.Share
	}
	if len(v.Branches) != 2 || math.Abs(sum-1) > 1e-9 || math.Abs(shares[decide.Allow]-0.7) > 1e-9 {
		t.Errorf("the branches are %+v", v.Branches)
	}
}

func TestAWorkloadsOwnCertificateIsWhatTheOtherSideSees(t *testing.T) {
	v := decide.New(mesh(serve(gatewayAt, nil, to("shop")), serve(applicationAt, strict(), to("inbound|9080||"), filter("rbac", policy(rbacv3.RBAC_ALLOW, rule, anybody))),
		endpoints("shop", true, applicationAt))).Decide(get("/"))
	seen := slices.ContainsFunc(v.Steps, func(s decide.Step) bool {
		return s.Stage == decide.StageTLS && s.Says == "mutual TLS with spiffe://cluster.local/ns/edge/sa/gateway"
	})
	if v.Outcome != decide.Allow || !seen {
		t.Errorf("decided %s by %+v", v.Outcome, v.Steps)
	}
}

func TestAConnectionThatItsOwnProxyDoesNotTakeIsSaidToGoPastIt(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("10.0.0.1:1")
	own := gatewayNode.Key()
	for name, test := range map[string]struct {
		from *xds.Key
		past bool
	}{"a workload whose proxy listens elsewhere": {&own, true}, "a client without a proxy": {nil, false}} {
		t.Run(name, func(t *testing.T) {
			q := get("/")
			q.From.Workload, q.To = test.from, applicationAt
			v := decide.New(mesh(serve(elsewhere, nil, to("shop")), serve(applicationAt, strict(), to("inbound|9080||")))).Decide(q)
			past := slices.ContainsFunc(v.Steps, func(s decide.Step) bool {
				return s.Proxy == gatewayNode.String() && strings.HasSuffix(s.Says, "this one goes past it")
			})
			if v.Outcome != decide.Fails || past != test.past {
				t.Errorf("decided %s by %+v", v.Outcome, v.Steps)
			}
		})
	}
}

func TestEndsThatChanceChoosesBetweenAreToldApart(t *testing.T) {
	inside := serve(applicationAt, strict(), to("inbound|9080||"))
	two := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
		Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "shop", Weight: wrapperspb.UInt32(75)}, {Name: "canary", Weight: wrapperspb.UInt32(25)}},
	}}}
	fault := &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
		ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 555},
		Percentage: &typev3.FractionalPercent{Numerator: 25},
	}}
	shop := endpoints("shop", true, applicationAt)
	for name, test := range map[string]struct {
		mesh proxies
		want []decide.Outcome
	}{
		"clusters that lead into applications by the same last name": {
			mesh(serve(gatewayAt, nil, two), inside, shop, endpoints("canary", true, applicationAt)), []decide.Outcome{decide.Allow, decide.Allow},
		},
		"a fault for a part of the requests": {
			mesh(serve(gatewayAt, nil, to("shop"), filter("fault", fault)), inside, shop), []decide.Outcome{decide.Allow, decide.Fails},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := decide.New(test.mesh).Decide(get("/"))
			if len(v.Branches) != 2 {
				t.Fatalf("decided %s with the branches %+v", v.Outcome, v.Branches)
			}
			for i, want := range test.want {
				if b := v.Branches[i]; b.Verdict.Outcome != want || b.Share != []float64{0.75, 0.25}[i] {
					t.Errorf("end %d is %s with share %v, want %s", i, b.Verdict.Outcome, b.Share, want)
				}
			}
		})
	}
}
