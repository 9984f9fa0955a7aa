// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/trellis-mesh/trellis/test/stack"
)

// sendHTTP2 sends one request with exactly these header fields, pseudo-headers
// first, which no ordinary client would do. config is nil for cleartext.
func sendHTTP2(ctx context.Context, address string, config *tls.Config, fields [][2]string) (*stack.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, err
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return nil, err
		}
	}
	err = errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true,
	}))
	if err != nil {
		return nil, err
	}
	return readHTTP2(framer)
}

func readHTTP2(framer *http2.Framer) (*stack.Response, error) {
	response := &stack.Response{Header: http.Header{}}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				response.Header.Add(field.Name, field.Value)
			}
			if status := f.PseudoValue("status"); status != "" {
				if response.Status, err = strconv.Atoi(status); err != nil {
					return nil, err
				}
			}
			if f.StreamEnded() {
				return response, nil
			}
		case *http2.DataFrame:
			response.Body = append(response.Body, f.Data()...)
			if f.StreamEnded() {
				return response, nil
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return nil, err
				}
			}
		case *http2.RSTStreamFrame:
			return nil, fmt.Errorf("stream reset: %s", f.ErrCode)
		case *http2.GoAwayFrame:
			return nil, fmt.Errorf("connection closed: %s", f.ErrCode)
		}
	}
}

// expectRPC is expect for gRPC, where a refusal by a proxy is the status 200
// with a grpc-status of its own: 7 for 403, 16 for 401, 12 for 404.
func expectRPC(t *testing.T, where string, want int, answer *stack.Response, err error) {
	t.Helper()
	if err == nil {
		if status, ok := map[string]int{"7": 403, "16": 401, "12": 404, "13": 400}[answer.Header.Get("grpc-status")]; ok {
			answer.Status = status
		}
	}
	expect(t, where, "shop", want, answer, err)
}
