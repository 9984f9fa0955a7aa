// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const requestTimeout = 20 * time.Second

// Call says how to connect.
type Call struct {
	// To is an address that a listener answers on.
	To netip.AddrPort
	// From is the client's address, of 127.0.0.0/8; the zero value lets the
	// kernel choose 127.0.0.1.
	From netip.Addr
	// TLS is nil for plaintext.
	TLS *tls.Config
}

// Connection is one client connection to a Proxy.
type Connection struct {
	proxy  *Proxy
	conn   net.Conn
	reader *bufio.Reader
	key    connectionKey
	sent   int
}

// Response is an answer with its whole body.
type Response struct {
	Status int
	Proto  int // the major version of HTTP
	Header http.Header
	Body   []byte
	// Close: Envoy takes no further request on this connection.
	Close bool

	proxy *Proxy
	key   connectionKey
	index int
}

// Dial connects. The error is that of a refused TLS handshake too.
func (p *Proxy) Dial(ctx context.Context, c Call) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := p.connect(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Connection{proxy: p, conn: conn, reader: bufio.NewReader(conn), key: keyOf(conn)}, nil
}

// connect takes a port that no earlier connection to this listener had: the
// access log tells connections apart by their addresses.
func (p *Proxy) connect(ctx context.Context, c Call) (net.Conn, error) {
	for {
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		if p.log.isNew(keyOf(conn)) {
			return c.secure(ctx, conn)
		}
		_ = conn.Close()
	}
}

func (c Call) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{}
	if c.From.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.From, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", c.To.String())
	if err != nil {
		return nil, fmt.Errorf("connecting to Envoy: %w", err)
	}
	return conn, nil
}

// secure does the TLS handshake, if there is to be one.
func (c Call) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if c.TLS == nil {
		return conn, nil
	}
	secure := tls.Client(conn, c.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to Envoy: %w", err)
	}
	return secure, nil
}

func keyOf(conn net.Conn) connectionKey {
	return connectionKey{client: conn.LocalAddr().String(), server: conn.RemoteAddr().String()}
}

// Close ends the connection.
func (c *Connection) Close() { _ = c.conn.Close() }

// Send writes an HTTP/1.1 request as it is given, from the request line to the
// end of the body, and reads the answer. Requests follow each other on a
// connection for as long as Envoy keeps it open.
func (c *Connection) Send(raw string) (*Response, error) {
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return nil, fmt.Errorf("sending a request: %w", err)
	}
	if _, err := io.WriteString(c.conn, raw); err != nil {
		return nil, fmt.Errorf("sending a request: %w", err)
	}
	method, _, _ := strings.Cut(raw, " ")
	answer, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	out := &Response{Status: answer.StatusCode, Proto: answer.ProtoMajor, Header: answer.Header, Close: answer.Close, proxy: c.proxy, key: c.key, index: c.sent}
	c.sent++
	defer func() { _ = answer.Body.Close() }()
	if out.Body, err = io.ReadAll(answer.Body); err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	return out, nil
}

// Logged waits for what the access log says of the n-th request, from 0, of this
// connection, or of the connection itself.
func (c *Connection) Logged(ctx context.Context, n int) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.proxy.log.entry(ctx, c.key, n)
}

// Send sends one request on a connection of its own.
func (p *Proxy) Send(ctx context.Context, c Call, raw string) (*Response, error) {
	conn, err := p.Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Send(raw)
}

// Send2 sends one request over HTTP/2 on a connection of its own; in plaintext
// with prior knowledge (RFC 9113 §3.3).
func (p *Proxy) Send2(ctx context.Context, c Call, r *http.Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{"h2"}
	}
	conn, err := p.connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	taken := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{
		DialContext: taken, DialTLSContext: taken, DisableCompression: true, Protocols: &http.Protocols{},
	}
	transport.Protocols.SetHTTP2(c.TLS != nil)
	transport.Protocols.SetUnencryptedHTTP2(c.TLS == nil)
	answer, err := transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sending a request over HTTP/2: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading an answer over HTTP/2: %w", err)
	}
	return &Response{Status: answer.StatusCode, Proto: answer.ProtoMajor, Header: answer.Header, Body: body, proxy: p, key: keyOf(conn)}, nil
}

// Logged waits for what the access log says of the request of this answer.
func (r *Response) Logged(ctx context.Context) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.proxy.log.entry(ctx, r.key, r.index)
}
