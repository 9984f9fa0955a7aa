// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// The types of istiod's debug interface over xDS. The first two honour
// DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES by leaving out what the caller may not
// see; the third refuses everybody but the system namespace, and says so.
const (
	typeSync   = "istio.io/debug/syncz"
	typeDump   = "istio.io/debug/config_dump"
	typeDebug  = "istio.io/debug"
	debugProbe = "list"

	askTimeout = 10 * time.Second
	// A sidecar that sees 3,000 services has a dump of about 9 MB.
	maximumAnswer = 256 << 20
)

// errRefused means that istiod answered, and that the answer was no.
var errRefused = errors.New("istiod refuses")

// Identity is who the operator is to istiod.
type Identity struct {
	Namespace      string
	ServiceAccount string
}

// session is a connection to one replica with one stream on it: istiod checks
// the token once for each stream, and that costs the API server a review. It is
// for one goroutine.
type session struct {
	replica  Replica
	identity Identity
	cluster  string
	conn     *grpc.ClientConn
	stream   discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	cancel   context.CancelFunc
}

// dial makes a session; nothing is sent until the first question.
func dial(ctx context.Context, replica Replica, config Config) (*session, error) {
	conn, err := Connect(ctx, replica, config.Roots, config.ServerName, config.Token)
	if err != nil {
		return nil, err
	}
	return &session{replica: replica, identity: config.Identity, cluster: config.Cluster, conn: conn}, nil
}

// Connect makes a connection to the authenticated xDS port of a replica, whose
// streams carry the token; nothing is sent before the first stream. ctx bounds
// reading the roots.
func Connect(ctx context.Context, replica Replica, roots Roots, serverName string, token Token) (*grpc.ClientConn, error) {
	pool, err := roots(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+replica.Address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: pool, ServerName: serverName, MinVersion: tls.VersionTLS12,
		})),
		grpc.WithPerRPCCredentials(bearer{token}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maximumAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", replica.Name, err)
	}
	return conn, nil
}

// close ends the stream and the connection.
func (s *session) close() {
	s.closeStream()
	_ = s.conn.Close()
}

func (s *session) closeStream() {
	if s.stream != nil {
		s.cancel()
		s.stream = nil
	}
}

// sync asks for the state of every proxy that this replica serves and that the
// caller may see.
func (s *session) sync(ctx context.Context) ([]proxyState, error) {
	answer, err := s.ask(ctx, typeSync)
	if err != nil {
		return nil, err
	}
	out := make([]proxyState, 0, len(answer.Resources))
	for _, resource := range answer.Resources {
		client := &statusv3.ClientConfig{}
		if err := resource.UnmarshalTo(client); err != nil {
			return nil, fmt.Errorf("reading what %s says of a proxy: %w", s.replica.Name, err)
		}
		if state, ok := readProxyState(client); ok {
			out = append(out, state)
		}
	}
	return out, nil
}

// dump asks for the configuration of one proxy as this replica last computed it.
// No error and nil: the replica does not serve the proxy, or does not show it.
func (s *session) dump(ctx context.Context, node string) (*adminv3.ConfigDump, error) {
	answer, err := s.ask(ctx, typeDump, node)
	if err != nil || len(answer.Resources) == 0 {
		return nil, err
	}
	return &adminv3.ConfigDump{Configs: answer.Resources}, nil
}

// privileged tells whether istiod takes the caller for one of the system
// namespace, to whom it shows everything.
func (s *session) privileged(ctx context.Context) (bool, error) {
	_, err := s.ask(ctx, typeDebug, debugProbe)
	if errors.Is(err, errRefused) {
		return false, nil
	}
	return err == nil, err
}

// ask sends one request and waits for its answer. Any error ends the stream;
// the next question opens another.
func (s *session) ask(ctx context.Context, typeURL string, names ...string) (*discoveryv3.DiscoveryResponse, error) {
	ctx, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	if err := s.open(ctx); err != nil {
		return nil, s.failed(ctx, err)
	}
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	request := &discoveryv3.DiscoveryRequest{Node: s.node(), TypeUrl: typeURL, ResourceNames: names}
	if err := s.stream.Send(request); err != nil {
		// The reason why a stream was ended is what Recv returns.
		_, err = s.stream.Recv()
		return nil, s.failed(ctx, err)
	}
	for {
		answer, err := s.stream.Recv()
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		if answer.TypeUrl == typeURL {
			return answer, nil
		}
	}
}

// open makes a stream that outlives ctx, unless ctx ends while it is opened.
func (s *session) open(ctx context.Context) error {
	if s.stream != nil {
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).StreamAggregatedResources(life)
	if err != nil {
		cancel()
		return err
	}
	s.stream, s.cancel = stream, cancel
	return nil
}

func (s *session) failed(ctx context.Context, err error) error {
	s.closeStream()
	if ctx.Err() != nil && status.Code(err) == codes.Canceled {
		err = ctx.Err()
	}
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s says: %s", errRefused, s.replica.Name, status.Convert(err).Message())
	default:
		return fmt.Errorf("asking %s at %s: %w", s.replica.Name, s.replica.Address, err)
	}
}

// node is how the operator presents itself. istiod compares namespace and
// account with the token; the address is one that no endpoint has, so that
// istiod never takes the operator for a workload.
func (s *session) node() *corev3.Node {
	text := structpb.NewStringValue
	return &corev3.Node{
		Id: "sidecar~0.0.0.0~trellis-operator." + s.identity.Namespace + "~" + s.identity.Namespace + ".svc.cluster.local",
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"GENERATOR":       text("event"),
			"NAMESPACE":       text(s.identity.Namespace),
			"SERVICE_ACCOUNT": text(s.identity.ServiceAccount),
			"CLUSTER_ID":      text(s.cluster),
		}},
	}
}

// bearer puts the token on a stream, never in clear text.
type bearer struct{ token Token }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }
