// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// collector is what OpenTelemetry's would be: it takes logs by OTLP, and has them as
// OTLP/JSON.
type collector struct {
	collectorv1.UnimplementedLogsServiceServer
	address netip.AddrPort

	mu   sync.Mutex
	docs []string
}

func collects(t *testing.T) *collector {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: netip.MustParseAddrPort(listener.Addr().String())}
	server := grpc.NewServer()
	collectorv1.RegisterLogsServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return c
}

// Export implements the service.
func (c *collector) Export(_ context.Context, r *collectorv1.ExportLogsServiceRequest) (*collectorv1.ExportLogsServiceResponse, error) {
	text, err := protojson.Marshal(r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.docs = append(c.docs, string(text))
	return &collectorv1.ExportLogsServiceResponse{}, nil
}

// of is the entry of a connection to a proxy.
func (c *collector) of(t *testing.T, local, remote netip.AddrPort) *accesslog.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, doc := range c.docs {
		entries, errs := accesslog.ParseAll(doc)
		if len(errs) > 0 {
			t.Errorf("%v: %s", errs, doc)
		}
		for _, e := range entries {
			if e.Local == local && e.Remote == remote {
				return e
			}
		}
	}
	return nil
}

// sameAs waits for what came by OTLP of an entry, which has to be the same.
func (c *collector) sameAs(t *testing.T, e *accesslog.Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if got := c.of(t, e.Local, e.Remote); got != nil {
			// The formats differ in which fields they have at all.
			same := *got
			same.Shows = e.Shows
			if !reflect.DeepEqual(&same, e) {
				t.Errorf("by OTLP it is %+v, and by the file %+v", got, e)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nothing came by OTLP of %+v", e)
		case <-ticker.C:
		}
	}
}

// collectedLog is a log by OTLP as Istio makes it
// (pilot/pkg/model/telemetry_logging.go, buildOpenTelemetryAccessLogConfig).
func collectedLog() *accesslogv3.AccessLog {
	text := func(s string) *commonv1.AnyValue {
		return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: s}}
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.open_telemetry",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: envoy.Any(&otelv3.OpenTelemetryAccessLogConfig{
			//nolint:staticcheck // Deprecated, and what Istio writes.
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName: "otel_envoy_accesslog", TransportApiVersion: corev3.ApiVersion_V3, BufferFlushInterval: durationpb.New(lookEvery),
				GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "collector"}}},
			},
			DisableBuiltinLabels: true,
			Body:                 text(istioText),
			Attributes: &commonv1.KeyValueList{Values: []*commonv1.KeyValue{
				{Key: "downstream_transport_failure_reason", Value: text("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%")},
				{Key: "downstream_tls_version", Value: text("%DOWNSTREAM_TLS_VERSION%")},
			}},
		})},
	}
}

// overHTTP2 lets a cluster speak that, and HTTP/1.1 no more.
func overHTTP2(c *clusterv3.Cluster) {
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": envoy.Any(&upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		}},
	})}
}
