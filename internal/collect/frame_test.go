// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// FuzzAMessageOfAnyBytesIsReadAsTheLibraryDoes: what frames find in a message without reading
// it is what is in it.
func FuzzAMessageOfAnyBytesIsReadAsTheLibraryDoes(f *testing.F) {
	entry := &datav3.HTTPAccessLogEntry{CommonProperties: &datav3.AccessLogCommon{UpstreamCluster: "inbound|80||", AccessLogType: datav3.AccessLogType_DownstreamEnd}}
	whole, err := proto.Marshal(&accesslogv3.StreamAccessLogsMessage{
		Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"}},
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*datav3.HTTPAccessLogEntry{entry, {}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{whole, whole[:len(whole)-3], append(whole, whole...), {0x1b}, {0x12, 0x80}, nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := frameOf(raw)
		want := &accesslogv3.StreamAccessLogsMessage{}
		good := proto.Unmarshal(raw, want) == nil
		if err != nil {
			return
		}
		by, notBy := found.by()
		read := 0
		streamed{&found, &sender{by: accesslog.WriterOf(by)}}.each(func(*accesslog.Entry, error) { read++ })
		if n := (streamed{&found, &sender{}}).count(); n != read {
			t.Errorf("%d entries are counted, and %d read", n, read)
		}
		if !good {
			return
		}
		if len(found.http) != len(want.GetHttpLogs().GetLogEntry()) || notBy != nil || by != want.GetIdentifier().GetNode().GetId() {
			t.Errorf("there are %d entries of %q (%v), and the library finds %v", len(found.http), by, notBy, want)
		}
	})
}
