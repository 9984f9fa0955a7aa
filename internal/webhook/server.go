// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// Presenter has the certificate that is served: an Identity or a Reader.
type Presenter interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Registrant serves paths.
type Registrant interface {
	Register(Registrar)
}

// Registrar takes handlers for paths: a webhook server.
type Registrar interface {
	Register(path string, hook http.Handler)
}

// NewServer serves the handler over HTTPS at host:port, with whatever the
// identity's certificate is at the moment. Both it and the presenter are to be
// added to the manager; neither waits for leadership.
func NewServer(address string, identity Presenter, handler Registrant) (webhook.Server, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's address: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("reading the webhook's address: %q is no port", text)
	}
	server := webhook.NewServer(webhook.Options{
		Host: host, Port: int(port),
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.MinVersion = tls.VersionTLS12
			c.GetCertificate = identity.GetCertificate
		}},
	})
	handler.Register(server)
	return server, nil
}
