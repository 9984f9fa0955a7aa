// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package ads_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/xds"
	"github.com/trellis-mesh/trellis/internal/xds/ads"
)

// server misbehaves as no istiod can be brought to; test/oracle/xds has the real
// one.
type server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	answer func(discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error
}

func (s server) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.answer(stream)
}

func serve(t *testing.T, answer func(discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error) *ads.Source {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, server{answer: answer})
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return source(t, listener.Addr().String(), 2*time.Second)
}

func source(t *testing.T, address string, timeout time.Duration) *ads.Source {
	t.Helper()
	s, err := ads.New(ads.Options{
		Replica: istiod.Replica{Address: address}, Timeout: timeout,
		Nodes: func(context.Context) ([]xds.Node, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var node = xds.Node{
	Type: xds.Sidecar, Name: "cart", Namespace: "shop", ServiceAccount: "cart", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")},
	Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"AUTO_REGISTER_GROUP": structpb.NewStringValue("vms")}},
}

func TestErrorsSayWhatToDo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	type stream = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer
	for _, test := range []struct {
		name   string
		source *ads.Source
		want   string
	}{
		{"nothing listens", source(t, nowhere, time.Second), "see whether istiod runs"},
		{"the account is another", serve(t, func(stream) error { return status.Error(codes.PermissionDenied, "no identities") }), "token of shop/cart for the audience istio-ca"},
		{"too many connect", serve(t, func(stream) error { return status.Error(codes.ResourceExhausted, "limit") }), "PILOT_MAX_REQUESTS_PER_SECOND"},
		{"no answer comes", serve(t, func(s stream) error { <-s.Context().Done(); return s.Context().Err() }), "did not send everything within 2s"},
		{"the configuration never rests", serve(t, restless), "changes faster than it can be read"},
		{"what is sent is of another type", serve(t, wrong), "reading what istiod sent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.source.Config(t.Context(), node)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "sidecar shop/cart") {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// restless sends clusters for ever, and never listeners.
func restless(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	for {
		answer := &discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster", VersionInfo: "1"}
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

// wrong sends a cluster as a listener.
func wrong(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	packed, err := anypb.New(&clusterv3.Cluster{Name: "x"})
	if err != nil {
		return err
	}
	answer := &discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener", Resources: []*anypb.Any{packed}}
	if err := s.Send(answer); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func TestNobodyIsRegisteredByAsking(t *testing.T) {
	asked := make(chan *discoveryv3.DiscoveryRequest, 1)
	s := serve(t, func(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
		request, err := s.Recv()
		if err == nil {
			asked <- request
		}
		return status.Error(codes.Internal, "enough")
	})
	if _, err := s.Config(t.Context(), node); err == nil {
		t.Fatal("no error")
	}
	fields := (<-asked).GetNode().GetMetadata().GetFields()
	if fields["AUTO_REGISTER_GROUP"] != nil || fields["NAMESPACE"].GetStringValue() != "shop" {
		t.Errorf("metadata %v", fields)
	}
	if node.Metadata.Fields["AUTO_REGISTER_GROUP"] == nil {
		t.Error("the node of the caller was changed")
	}
}

func TestATokenIsNeverSentToAnUnknownServer(t *testing.T) {
	_, err := ads.New(ads.Options{
		Replica: istiod.Replica{Address: "127.0.0.1:1"},
		Nodes:   func(context.Context) ([]xds.Node, error) { return nil, nil },
		Token:   func(xds.Node) istiod.Token { return nil },
	})
	if err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("error %v", err)
	}
}
