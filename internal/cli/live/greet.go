// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/trellis-mesh/trellis/internal/xds/ads"
)

// greeting bounds how long istiod may take to be connected to.
const greeting = 10 * time.Second

// greet connects to istiod once, and looks at its certificate. No token is sent.
func greet(ctx context.Context, options ads.Options, where string) error {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	if options.Token == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", options.Replica.Address)
		if err != nil {
			return unreachable(where, plaintextPort, err)
		}
		return conn.Close()
	}
	roots, err := options.Roots(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("checking istiod's certificate: %w: you may not get configmaps in istiod's namespace, where istio-ca-root-cert has its root; ask for that, %s", errMayNot, instead)
	case err != nil:
		return fmt.Errorf("checking istiod's certificate: %w; %s", err, instead)
	}
	dialer := &tls.Dialer{Config: &tls.Config{
		RootCAs: roots, ServerName: options.ServerName, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", options.Replica.Address)
	if err != nil {
		return refused(where, options.ServerName, err)
	}
	return conn.Close()
}

// refused tells a certificate that is not istiod's from a port that is none.
func refused(where, name string, err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &certificate) || errors.As(err, &unknown):
		return fmt.Errorf("checking istiod's certificate: what answers at %s does not show one for %s that is signed by the root in the ConfigMap istio-ca-root-cert, so that no token is sent to it: %w; "+
			"see whether the address is istiod's (--istiod, --istio-namespace), %s", where, name, err, instead)
	case errors.As(err, &record):
		return fmt.Errorf("connecting to istiod: what answers at %s speaks no TLS: %w; use its port %d, or --istiod-plaintext", where, err, securePort)
	}
	return unreachable(where, securePort, err)
}

func unreachable(where string, port int, err error) error {
	return fmt.Errorf("connecting to istiod: %s cannot be reached: %w; see whether istiod runs and whether its port %d is open from here (a NetworkPolicy or firewall may stand in the way), name another address with --istiod, %s", where, err, port, instead)
}
