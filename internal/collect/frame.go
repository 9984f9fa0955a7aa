// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"errors"
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
)

// frame is a message of a stream as it came. Read, it has seven times as many bytes, and
// most of the work is the reading: both are spared for what there is no room for.
type frame struct {
	raw []byte
	// identifier is who sends, as it came; nil where the message does not say.
	identifier []byte
	// http are the entries of all sorts, as they came, and tcp how many others there are.
	http [][]byte
	tcp  int
}

// Fields of StreamAccessLogsMessage, of what holds its entries, of an entry and of what all
// entries have (api/envoy/service/accesslog/v3/als.proto, data/accesslog/v3/accesslog.proto).
const (
	fieldIdentifier, fieldHTTP, fieldTCP = 1, 2, 3
	fieldEntry                           = 1
	fieldCommon                          = 1
	fieldType                            = 33
)

var (
	errFrame = errors.New("it is no message of access logs")
	errMixed = errors.New("a message is of requests or of connections")
)

// frameOf finds what is in a message, without reading entries.
func frameOf(raw []byte) (frame, error) {
	f := frame{raw: raw}
	var tcp bool
	ok := fields(raw, func(field protowire.Number, _ uint64, value []byte) bool {
		switch field {
		case fieldIdentifier:
			f.identifier = append(f.identifier[:len(f.identifier):len(f.identifier)], value...)
			if f.identifier == nil {
				f.identifier = []byte{}
			}
		case fieldHTTP:
			return fields(value, func(field protowire.Number, _ uint64, entry []byte) bool {
				if field == fieldEntry {
					f.http = append(f.http, entry)
				}
				return true
			})
		case fieldTCP:
			tcp = true
			return fields(value, func(field protowire.Number, _ uint64, _ []byte) bool {
				if field == fieldEntry {
					f.tcp++
				}
				return true
			})
		}
		return true
	})
	switch {
	case !ok:
		return frame{}, errFrame
	case tcp && len(f.http) > 0:
		return frame{}, errMixed
	}
	return f, nil
}

// fields calls yield with each field of a message: with its number where it is one, and its
// bytes where it is text or a message. False: it is no message, or yield says so.
func fields(raw []byte, yield func(field protowire.Number, number uint64, value []byte) bool) bool {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return false
		}
		raw = raw[n:]
		var number uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(raw)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(raw)
		default:
			n = protowire.ConsumeFieldValue(field, kind, raw)
		}
		if n < 0 || !yield(field, number, value) {
			return false
		}
		raw = raw[n:]
	}
	return true
}

// by is who sends: the id of its node.
func (f *frame) by() (string, error) {
	out := &accesslogv3.StreamAccessLogsMessage_Identifier{}
	if err := proto.Unmarshal(f.identifier, out); err != nil {
		return "", fmt.Errorf("reading who sends access logs: %w", err)
	}
	return out.GetNode().GetId(), nil
}

// typeOf is the sort of an entry, without reading the rest of it; of what cannot be read, that
// of one which counts.
func typeOf(entry []byte) datav3.AccessLogType {
	var out datav3.AccessLogType
	fields(entry, func(field protowire.Number, _ uint64, common []byte) bool {
		return field != fieldCommon || fields(common, func(field protowire.Number, number uint64, _ []byte) bool {
			if field == fieldType {
				out = datav3.AccessLogType(number)
			}
			return true
		})
	})
	return out
}

// frames leaves messages as they come, and writes answers.
type frames struct{}

// Unmarshal implements encoding.Codec. The bytes are the message's own.
func (frames) Unmarshal(raw []byte, into any) error {
	f, ok := into.(*frame)
	if !ok {
		return fmt.Errorf("reading a message of access logs: %T is none", into)
	}
	var err error
	*f, err = frameOf(raw)
	return err
}

// Marshal implements encoding.Codec.
func (frames) Marshal(out any) ([]byte, error) {
	m, ok := out.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("answering access logs: %T is no message", out)
	}
	return proto.Marshal(m)
}

// Name implements encoding.Codec.
func (frames) Name() string { return "proto" }

// service is Envoy's access log service, of which the messages are frames.
var service = grpc.ServiceDesc{
	ServiceName: accesslogv3.AccessLogService_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: "StreamAccessLogs", ClientStreams: true,
		Handler: func(server any, stream grpc.ServerStream) error {
			s, ok := server.(*streams)
			if !ok {
				return fmt.Errorf("taking access logs: %T takes none", server)
			}
			return s.take(stream)
		},
	}},
	Metadata: accesslogv3.AccessLogService_ServiceDesc.Metadata,
}
