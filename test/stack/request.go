// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// requestTimeout bounds a request whose context has no deadline.
const requestTimeout = 15 * time.Second

// Request is one HTTP/1.1 request that goes onto the wire as written: Path is
// not cleaned, encoded or checked, so that a test can send what a browser or
// http.Client would never send.
type Request struct {
	Method string // default GET
	Host   string // the Host header
	Path   string // the request target; default /
	Header http.Header
	Body   []byte
}

// Response is an answer with its whole body.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send sends a request on a new connection to host:port, in TLS if config is
// not nil.
func Send(ctx context.Context, address string, config *tls.Config, r Request) (*Response, error) {
	return send(ctx, &net.Dialer{}, address, config, r)
}

// dialer opens connections, as a net.Dialer does.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

func send(ctx context.Context, dialer dialer, address string, config *tls.Config, r Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("sending a request: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if config != nil {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("sending a request to %s: %w", address, err)
		}
		conn = secure
	}
	if _, err := conn.Write(r.wire()); err != nil {
		return nil, fmt.Errorf("sending a request to %s: %w", address, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.method()})
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	return &Response{Status: answer.StatusCode, Header: answer.Header, Body: body}, nil
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// wire returns the bytes of the request. Header may override everything but
// the connection's end, which lets the answer be read to its end.
func (r Request) wire() []byte {
	path := r.Path
	if path == "" {
		path = "/"
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", r.method(), path)
	if r.Host != "" && r.Header.Get("Host") == "" {
		fmt.Fprintf(&text, "Host: %s\r\n", r.Host)
	}
	if len(r.Body) > 0 && r.Header.Get("Content-Length") == "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(r.Body))
	}
	text.WriteString("Connection: close\r\n")
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(&text, "%s: %s\r\n", name, value)
		}
	}
	text.WriteString("\r\n")
	text.Write(r.Body)
	return text.Bytes()
}

// dialTo returns an HTTP client that connects by dial, which is told the port of a URL,
// whatever its host is. Connections are not reused, so that each
// request meets the configuration of its moment.
func dialTo(pool *x509.CertPool, dial func(ctx context.Context, port string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return dial(ctx, port)
			},
		},
	}
}

func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return strings.Trim(hostport, "[]")
	}
	return host
}
