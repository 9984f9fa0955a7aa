// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headerReached is in the answers of applications: which one it is, and its port.
const headerReached = "X-Reached"

// tlsHandshake is the first byte of a TLS connection (RFC 8446 §5.1).
const tlsHandshake = 0x16

// maxTLS is how many connections by TLS may be inside of each other.
const maxTLS = 3

// rawAnswer begins what an application answers on a TCP port.
const rawAnswer = "raw: "

// answer serves a port in an application's name. HTTP is read without the
// judgement of net/http, which refuses much that a proxy may send.
//
// Whoever begins a TLS handshake gets one, by a certificate of no authority that
// anybody trusts: a proxy, and inside of its connection a client.
func answer(name, port string, raw bool, certificate tls.Certificate) func(net.Conn) {
	end := name + " " + port
	return func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		reader := bufio.NewReader(conn)
		first, err := reader.Peek(4)
		for depth := 0; depth < maxTLS && err == nil && first[0] == tlsHandshake; depth++ {
			secure := tls.Server(peeked{conn, reader}, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
			conn, reader = secure, bufio.NewReader(secure)
			first, err = reader.Peek(4)
		}
		switch {
		case err != nil:
		case raw:
			_, _ = io.WriteString(conn, rawAnswer+end+"\n")
			_, _ = io.CopyN(io.Discard, reader, int64(reader.Buffered()))
		case string(first) == "PRI ":
			serveHTTP2(peeked{conn, reader}, end)
		default:
			serveHTTP1(conn, reader, end)
		}
	}
}

// peeked is a connection of which something was read already.
type peeked struct {
	net.Conn
	reader *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.reader.Read(b) }

// serveHTTP2 answers every stream once its request has ended.
func serveHTTP2(conn net.Conn, end string) {
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if framer.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}) != nil {
		return
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		over, err := requestOver(framer, frame)
		if err != nil {
			return
		}
		if !over {
			continue
		}
		block.Reset()
		_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(headerReached), Value: end})
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.Header().StreamID, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil {
			return
		}
	}
}

// requestOver answers what belongs to the connection, and reports whether a request is over.
func requestOver(framer *http2.Framer, frame http2.Frame) (over bool, err error) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			err = framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			err = framer.WritePing(true, f.Data)
		}
	case *http2.MetaHeadersFrame:
		over = f.StreamEnded() || f.PseudoValue("method") == http.MethodConnect
	case *http2.DataFrame:
		over = f.StreamEnded()
	}
	return over, err
}

func serveHTTP1(conn net.Conn, reader *bufio.Reader, end string) {
	for {
		method, err := skipRequest(reader)
		if err != nil {
			return
		}
		body := end
		if method == http.MethodHead {
			body = ""
		}
		if method == http.MethodConnect || strings.HasPrefix(method, "upgrade ") {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s: %s\r\n\r\n", headerReached, end)
			return
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", headerReached, end, len(end), body); err != nil {
			return
		}
	}
}

// skipRequest reads one request to its end; an upgrade is marked before the method.
func skipRequest(reader *bufio.Reader) (string, error) {
	text := textproto.NewReader(reader)
	line, err := text.ReadLine()
	if err != nil {
		return "", err
	}
	method, _, _ := strings.Cut(line, " ")
	body := io.Reader(strings.NewReader(""))
	for {
		line, err := text.ReadLine()
		if err != nil {
			return "", err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(strings.ToLower(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return "", err
			}
			body = io.LimitReader(reader, n)
		case "transfer-encoding":
			body = httputil.NewChunkedReader(reader)
			defer func() { _, _ = text.ReadLine() }() // the end of the trailers
		case "upgrade":
			method = "upgrade " + method
		}
	}
	if strings.HasPrefix(method, "upgrade ") {
		return method, nil // what follows waits for the answer
	}
	_, err = io.Copy(io.Discard, body)
	return method, err
}
