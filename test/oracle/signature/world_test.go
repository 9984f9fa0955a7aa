// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package signature

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
	"github.com/trellis-mesh/trellis/test/envoy"
)

// istioText are the fields of Istio's default format in its order
// (pilot/pkg/model/telemetry_logging.go, EnvoyTextLogFormat).
var istioText = strings.Join([]string{
	"[%START_TIME%]", `"%REQ(:METHOD)%`, "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", `%PROTOCOL%"`, "%RESPONSE_CODE%", "%RESPONSE_FLAGS%",
	"%RESPONSE_CODE_DETAILS%", "%CONNECTION_TERMINATION_DETAILS%", `"%UPSTREAM_TRANSPORT_FAILURE_REASON%"`, "%BYTES_RECEIVED%", "%BYTES_SENT%",
	"%DURATION%", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", `"%REQ(X-FORWARDED-FOR)%"`, `"%REQ(USER-AGENT)%"`, `"%REQ(X-REQUEST-ID)%"`,
	`"%REQ(:AUTHORITY)%"`, `"%UPSTREAM_HOST%"`, "%UPSTREAM_CLUSTER_RAW%", "%UPSTREAM_LOCAL_ADDRESS%", "%DOWNSTREAM_LOCAL_ADDRESS%",
	"%DOWNSTREAM_REMOTE_ADDRESS%", "%REQUESTED_SERVER_NAME%", "%ROUTE_NAME%",
}, " ") + "\n"

// fields are of a JSON format with what Istio's default has none of.
var fields = map[string]any{
	"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
	"response_code_details": "%RESPONSE_CODE_DETAILS%", "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
	"upstream_transport_failure_reason":   "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"downstream_transport_failure_reason": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
	"downstream_local_address":            "%DOWNSTREAM_LOCAL_ADDRESS%", "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
	"start_time": "%START_TIME%", "requested_server_name": "%REQUESTED_SERVER_NAME%", "request_id": "%REQ(X-REQUEST-ID)%", "downstream_tls_version": "%DOWNSTREAM_TLS_VERSION%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
}

const textLog, fieldLog = "text.log", "fields.log"

func textAccessLog() *accesslogv3.AccessLog {
	return file(textLog, &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: istioText}},
	}})
}

func fieldAccessLog(t *testing.T) *accesslogv3.AccessLog {
	all, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return file(fieldLog, &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: all}})
}

func file(name string, format *corev3.SubstitutionFormatString) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: envoy.Any(&filelogv3.FileAccessLog{
			Path: name, AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: format},
		})},
	}
}

// onlyNoRoute is how Istio logs at listeners (pilot/pkg/networking/core/accesslog.go).
func onlyNoRoute(l *accesslogv3.AccessLog) *accesslogv3.AccessLog {
	l.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
	}}
	return l
}

// listening is a listener of one of the proxies: HTTP, or bytes that go to a
// cluster.
func listening(t *testing.T, name string, manager *hcmv3.HttpConnectionManager, tcp string) *listenerv3.Listener {
	var l *listenerv3.Listener
	if tcp != "" {
		l = &listenerv3.Listener{Name: name, Address: envoy.Address("127.0.0.1", 0), FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{envoy.NetworkFilter("envoy.filters.network.tcp_proxy", &tcpproxyv3.TcpProxy{
				StatPrefix: name, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: tcp},
				AccessLog: []*accesslogv3.AccessLog{textAccessLog()},
			})},
		}}}
	} else {
		manager.AccessLog = []*accesslogv3.AccessLog{textAccessLog(), fieldAccessLog(t), collectedLog()}
		manager.PreserveExternalRequestId = true
		l = envoy.HTTPListener(name, manager, nil)
	}
	l.AccessLog = []*accesslogv3.AccessLog{onlyNoRoute(textAccessLog()), fieldAccessLog(t)}
	return l
}

// routed sends everything to a cluster.
func routed(cluster string, change func(*routev3.RouteAction)) *routev3.RouteConfiguration {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}
	if change != nil {
		change(action)
	}
	return &routev3.RouteConfiguration{Name: "routes", VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/"}}, Action: &routev3.Route_Route{Route: action},
	}}}}}
}

// running is an Envoy and where it logs.
type running struct {
	*envoy.Proxy
	dir string
}

func run(t *testing.T, listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster) *running {
	t.Helper()
	dir := t.TempDir()
	p, err := envoy.Start(t.Context(), dir, envoy.Bootstrap(listeners, clusters...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &running{p, dir}
}

const (
	lookEvery = 10 * time.Millisecond
	patience  = 10 * time.Second
)

// line waits for an entry that the test wants.
func (r *running) line(ctx context.Context, log string, wanted func(string, *accesslog.Entry) bool) (*accesslog.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		text, err := os.ReadFile(filepath.Join(r.dir, log))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text[:bytes.LastIndexByte(text, '\n')+1])) {
			// What says of nothing how it ended is no entry: a connection that a
			// listener had and that went well.
			if e, err := accesslog.Parse(line); err == nil && wanted(line, e) {
				return e, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a line in %s: %w", log, ctx.Err())
		case <-ticker.C:
		}
	}
}

// application does what it is told with each connection.
func application(t *testing.T, with func(net.Conn, *bufio.Reader)) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				with(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// head reads a request without a body.
func head(reader *bufio.Reader) bool {
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
}

// answers with a status, again and again.
func answers(status string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, reader *bufio.Reader) {
		for head(reader) {
			if _, err := io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	}
}

// refusing is an address where nobody listens until the test ends: it is taken, so
// that no other listener can get it.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(socket)
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("a socket of IPv4 has the address %T", name)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(own.Addr), uint16(own.Port))
}
