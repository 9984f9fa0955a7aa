// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package ads is the xds.Source that asks a running istiod: it connects in the
// name of a proxy, asks for what that proxy would ask for (Envoy's aggregated
// discovery service, state of the world), acknowledges it, and hangs up. The
// answer is exact for the installed version and flags.
//
// istiod sends a proxy's configuration to the proxy's own ServiceAccount only
// (pilot/pkg/xds/auth.go), so a token of that account is needed, or the plaintext
// port. While it lasts, the connection is in istiod's list as one of the proxy's.
// It never registers a workload and reads no keys: certificates are not asked for.
package ads

import (
	"context"
	"errors"
	"fmt"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/trellis-mesh/trellis/internal/istiod"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// Options are what a Source is made from.
type Options struct {
	// Replica is the istiod to ask.
	Replica istiod.Replica
	// Roots and ServerName are for istiod's certificate.
	Roots      istiod.Roots
	ServerName string
	// Token gives the token of a proxy's ServiceAccount. Nil: Replica.Address is
	// the plaintext port (15010), and no Roots are needed.
	Token func(xds.Node) istiod.Token
	// Nodes finds the proxies of the mesh.
	Nodes func(context.Context) ([]xds.Node, error)
	// Timeout bounds one proxy's answer; default 30 seconds.
	Timeout time.Duration
}

// Source asks one replica. It keeps no connection and is safe for concurrent use.
type Source struct{ options Options }

var _ xds.Source = (*Source)(nil)

const (
	defaultTimeout = 30 * time.Second
	// maximumAnswer bounds one message: a sidecar that sees 3,000 services has
	// some 9 MB in all.
	maximumAnswer = 256 << 20
	// maximumMessages bounds how often istiod may change its mind while it is asked.
	maximumMessages = 1000
	// pause is how long to wait when istiod has too many new connections: it
	// takes 20 to 100 in a second (PILOT_MAX_REQUESTS_PER_SECOND).
	pause = 200 * time.Millisecond
)

// New makes a Source; nothing is connected yet.
func New(options Options) (*Source, error) {
	switch {
	case options.Replica.Address == "":
		return nil, errors.New("asking istiod for configurations: no address is given")
	case options.Token != nil && options.Roots == nil:
		return nil, errors.New("asking istiod for configurations: a token is never sent without checking istiod's certificate: give its root")
	case options.Nodes == nil:
		return nil, errors.New("asking istiod for configurations: nothing says which proxies there are")
	}
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	return &Source{options}, nil
}

// Nodes implements xds.Source.
func (s *Source) Nodes(ctx context.Context) ([]xds.Node, error) { return s.options.Nodes(ctx) }

// Config implements xds.Source.
func (s *Source) Config(ctx context.Context, node xds.Node) (*xds.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	for {
		config, err := s.once(ctx, node)
		if status.Code(err) != codes.ResourceExhausted {
			return config, s.explain(ctx, node, err)
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, s.explain(ctx, node, err)
		}
	}
}

func (s *Source) once(ctx context.Context, node xds.Node) (*xds.Config, error) {
	conn, err := s.connect(ctx, node)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	f := newFetch(stream, node)
	if err := f.run(); err != nil {
		return nil, err
	}
	return f.config(node, s.options.Replica.Address), nil
}

func (s *Source) connect(ctx context.Context, node xds.Node) (*grpc.ClientConn, error) {
	if s.options.Token != nil {
		return istiod.Connect(ctx, s.options.Replica, s.options.Roots, s.options.ServerName, s.options.Token(node))
	}
	return grpc.NewClient("passthrough:///"+s.options.Replica.Address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maximumAnswer)))
}

// explain says what to do about an error.
func (s *Source) explain(ctx context.Context, node xds.Node, err error) error {
	if err == nil {
		return nil
	}
	var hint string
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		hint = fmt.Sprintf("istiod gives the configuration of a proxy to its ServiceAccount only: "+
			"use a token of %s/%s for the audience %s (create on serviceaccounts/token)", node.Namespace, node.ServiceAccount, istiod.Audience)
	case codes.Unavailable:
		hint = "see whether istiod runs, and whether the address and the kind of port (plaintext 15010, TLS 15012) are right"
	case codes.ResourceExhausted:
		hint = "istiod takes no more connections now: ask for fewer proxies at a time, or raise PILOT_MAX_REQUESTS_PER_SECOND"
	case codes.DeadlineExceeded:
		hint = fmt.Sprintf("istiod did not send everything within %s: see its log, or raise the timeout", s.options.Timeout)
	}
	if ctx.Err() != nil && status.Code(err) == codes.Canceled {
		err = ctx.Err()
	}
	if hint != "" {
		return fmt.Errorf("asking %s for the configuration of %s: %w; %s", s.options.Replica.Address, node, err, hint)
	}
	return fmt.Errorf("asking %s for the configuration of %s: %w", s.options.Replica.Address, node, err)
}
