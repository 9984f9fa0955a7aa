// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package envoy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

// maximumBody bounds what an upstream reads of one request.
const maximumBody = 1 << 20

// Upstream answers each request with 200 and what it got, as JSON.
type Upstream struct {
	Address netip.AddrPort
}

// Got is the body of an Upstream's answer: the request as it arrived. Nothing in
// it is cleaned or decoded.
type Got struct {
	Upstream string      `json:"upstream"`
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Headers  [][2]string `json:"headers"` // in order, names as they came
	Body     string      `json:"body"`
}

// Header is the first value of a header that the upstream got, and whether there
// is one.
func (g *Got) Header(name string) (string, bool) {
	for _, h := range g.Headers {
		if strings.EqualFold(h[0], name) {
			return h[1], true
		}
	}
	return "", false
}

// Got reads the answer of an Upstream; nil if this is none.
func (r *Response) Got() *Got {
	out := &Got{}
	if json.Unmarshal(r.Body, out) != nil || out.Target == "" {
		return nil
	}
	return out
}

// RunUpstream serves until the test ends. The name is in its answers.
func RunUpstream(t testing.TB, name string) *Upstream {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting an upstream: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn, name)
		}
	}()
	address, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		t.Fatalf("starting an upstream: %v", err)
	}
	return &Upstream{Address: address}
}

func serve(conn net.Conn, name string) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for {
		got, err := receive(reader)
		if err != nil {
			return
		}
		got.Upstream = name
		body, err := json.Marshal(got)
		if err != nil {
			return
		}
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		if got.Method == http.MethodHead {
			body = nil
		}
		if _, err := conn.Write(append([]byte(head), body...)); err != nil {
			return
		}
	}
}

// receive reads one request without the judgement of net/http, which refuses
// much that a proxy may send.
func receive(reader *bufio.Reader) (*Got, error) {
	text := textproto.NewReader(reader)
	line, err := text.ReadLine()
	if err != nil {
		return nil, err
	}
	got := &Got{}
	got.Method, got.Target, _ = strings.Cut(line, " ")
	got.Target = strings.TrimSuffix(got.Target, " HTTP/1.1")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		got.Headers = append(got.Headers, [2]string{name, strings.TrimSpace(value)})
	}
	body := io.Reader(strings.NewReader(""))
	if length, ok := got.Header("Content-Length"); ok {
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil {
			return nil, err
		}
		body = io.LimitReader(reader, n)
	} else if coding, _ := got.Header("Transfer-Encoding"); strings.EqualFold(coding, "chunked") {
		body = httputil.NewChunkedReader(reader)
		defer func() { _, _ = text.ReadLine() }() // the end of the trailers
	}
	content, err := io.ReadAll(io.LimitReader(body, maximumBody))
	got.Body = string(content)
	return got, err
}
