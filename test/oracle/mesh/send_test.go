// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/trellis-mesh/trellis/internal/decide/hcm"
	"github.com/trellis-mesh/trellis/test/stack/redirect"
)

// seen is what became of a request. Without an answer, failure says why.
type seen struct {
	status  int
	header  http.Header
	reached string // "" for no application
	failure error
}

func (s *seen) String() string {
	if s.failure != nil {
		return "no answer: " + s.failure.Error()
	}
	return fmt.Sprintf("status %d of %q with %v", s.status, s.reached, s.header)
}

// patience bounds one request; nothing here is slow.
const patience = 10 * time.Second

// route is what connections are kept by.
type wayTo struct {
	from netip.Addr
	to   netip.AddrPort
	tls  handshake
	safe bool
	// redirection is what the connection begins with.
	redirection string
}

// clients send requests and keep connections. It is safe for concurrent use.
type clients struct {
	authority, mutual tls.Certificate

	mu           sync.Mutex
	certificates map[string]tls.Certificate
	idle         map[wayTo][]*connection
}

// connection is one connection of a client.
type connection struct {
	net.Conn
	reader *bufio.Reader
	used   bool
}

func newClients(s *stage) *clients {
	return &clients{authority: s.authority, mutual: s.mutual, certificates: map[string]tls.Certificate{}, idle: map[wayTo][]*connection{}}
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range c.idle {
		for _, one := range all {
			_ = one.Close()
		}
	}
	clear(c.idle)
}

// send sends a request, on a connection that was used before if there is one.
func (c *clients) send(ctx context.Context, q *ask) *seen {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	way := wayTo{from: q.from, to: q.to}
	if q.tls != nil {
		way.tls, way.safe = *q.tls, true
	}
	if q.meant.IsValid() {
		way.redirection = redirect.Header(play.apps[q.through].Address, q.meant)
	}
	reuse := !q.alone && !q.raw && q.version == hcm.HTTP11
	for {
		conn, err := c.connect(ctx, way, reuse)
		if err != nil {
			return &seen{failure: err}
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		out, keep := conn.exchange(q)
		if !stop() {
			keep = false
		}
		if keep && reuse {
			conn.used = true
			c.mu.Lock()
			c.idle[way] = append(c.idle[way], conn)
			c.mu.Unlock()
		} else {
			_ = conn.Close()
		}
		// A kept connection may have ended in the meantime.
		if out.failure != nil && conn.used && ctx.Err() == nil {
			continue
		}
		return out
	}
}

func (c *clients) connect(ctx context.Context, way wayTo, reuse bool) (*connection, error) {
	c.mu.Lock()
	if all := c.idle[way]; reuse && len(all) > 0 {
		conn := all[len(all)-1]
		c.idle[way] = all[:len(all)-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(way.from, 0))}
	conn, err := dialer.DialContext(ctx, "tcp4", way.to.String())
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, way.redirection); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if !way.safe {
		return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
	}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: way.tls.name} //nolint:gosec // Who answers is what is being found out.
	if way.tls.protocols != "" {
		config.NextProtos = strings.Split(way.tls.protocols, ",")
	}
	if way.tls.certificate != "" {
		own, err := c.certificate(way.tls.certificate)
		if err != nil {
			return nil, err
		}
		// Whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &connection{Conn: secure, reader: bufio.NewReader(secure)}, nil
}

func (c *clients) certificate(name string) (tls.Certificate, error) {
	if name == "mutual" {
		return c.mutual, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	own, ok := c.certificates[name]
	if !ok {
		var err error
		if own, err = issue(c.authority, name); err != nil {
			return own, err
		}
		c.certificates[name] = own
	}
	return own, nil
}

// exchange sends one request and reads its answer. The connection can be used
// again where the second result says so.
func (c *connection) exchange(q *ask) (*seen, bool) {
	switch {
	case q.raw:
		if _, err := io.WriteString(c, "hello, this is no request\r\n\r\n"); err != nil {
			return &seen{failure: err}, false
		}
		return c.read("", q)
	case q.version == hcm.HTTP2:
		return c.exchange2(q), false
	}
	var text bytes.Buffer
	version := "1.1"
	if q.version == hcm.HTTP10 {
		version = "1.0"
	}
	fmt.Fprintf(&text, "%s %s HTTP/%s\r\n", q.method, q.target, version)
	chunked := false
	for _, h := range q.headerFields() {
		fmt.Fprintf(&text, "%s: %s\r\n", h.Name, h.Value)
		chunked = chunked || h.Name == "x-chunks"
	}
	text.WriteString("\r\n" + q.body)
	if chunked {
		text.WriteString("0\r\n\r\n")
	}
	if _, err := c.Write(text.Bytes()); err != nil {
		return &seen{failure: err}, false
	}
	return c.read(q.method, q)
}

func (c *connection) read(method string, q *ask) (*seen, bool) {
	first, err := c.reader.Peek(len(rawAnswer))
	if err != nil {
		return &seen{failure: err}, false
	}
	if string(first) == rawAnswer {
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return &seen{failure: err}, false
		}
		return &seen{reached: strings.TrimSpace(strings.TrimPrefix(line, rawAnswer))}, false
	}
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return &seen{failure: err}, false
	}
	out := &seen{status: response.StatusCode, header: response.Header, reached: response.Header.Get(headerReached)}
	// What has no body by its status or method may have one on the wire.
	if response.StatusCode < 200 || response.StatusCode == http.StatusNoContent || method == http.MethodConnect || method == http.MethodHead {
		return out, false
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return out, err == nil && !response.Close && c.reader.Buffered() == 0 && q.version == hcm.HTTP11
}

// exchange2 sends a request as HTTP/2, with exactly these fields.
func (c *connection) exchange2(q *ask) *seen {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return &seen{failure: err}
	}
	framer := http2.NewFramer(c, c.reader)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{{Name: ":method", Value: q.method}, {Name: ":scheme", Value: q.scheme()}, {Name: ":path", Value: q.target}}
	if q.host != "" {
		fields = slices.Insert(fields, 1, hpack.HeaderField{Name: ":authority", Value: q.host})
	}
	for _, h := range q.headerFields() {
		fields = append(fields, hpack.HeaderField{Name: h.Name, Value: h.Value})
	}
	for _, f := range fields {
		if err := encoder.WriteField(f); err != nil {
			return &seen{failure: err}
		}
	}
	err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndStream: q.body == "", EndHeaders: true,
	}))
	if err == nil && q.body != "" {
		err = framer.WriteData(1, true, []byte(q.body))
	}
	if err != nil {
		return &seen{failure: err}
	}
	if first, err := c.reader.Peek(len(rawAnswer)); err == nil && string(first) == rawAnswer {
		out, _ := c.read("", q)
		return out
	}
	return readHTTP2(framer)
}

func readHTTP2(framer *http2.Framer) *seen {
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return &seen{failure: err}
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			out := &seen{header: http.Header{}}
			for _, field := range f.Fields {
				out.header.Add(field.Name, field.Value)
			}
			out.reached = out.header.Get(headerReached)
			if out.status, err = strconv.Atoi(f.PseudoValue("status")); err != nil {
				return &seen{failure: err}
			}
			return out
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return &seen{failure: err}
				}
			}
		case *http2.RSTStreamFrame:
			return &seen{failure: fmt.Errorf("stream reset: %s", f.ErrCode)}
		case *http2.GoAwayFrame:
			return &seen{failure: fmt.Errorf("connection closed: %s", f.ErrCode)}
		}
	}
}
