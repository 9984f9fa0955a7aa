// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package metricstore

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Series is one series: its name is the label __name__.
type Series struct {
	Labels  map[string]string
	Samples []Sample
}

// Sample is a value at a time, to the millisecond.
type Sample struct {
	At    time.Time
	Value float64
}

// encode is the message WriteRequest of Prometheus's remote write 1.0, compressed
// as Snappy says.
func encode(series []Series) []byte {
	var out []byte
	for _, one := range series {
		var message []byte
		for _, name := range slices.Sorted(maps.Keys(one.Labels)) {
			var l []byte
			l = protowire.AppendTag(l, 1, protowire.BytesType)
			l = protowire.AppendString(l, name)
			l = protowire.AppendTag(l, 2, protowire.BytesType)
			l = protowire.AppendString(l, one.Labels[name])
			message = protowire.AppendTag(message, 1, protowire.BytesType)
			message = protowire.AppendBytes(message, l)
		}
		for _, sample := range one.Samples {
			var s []byte
			s = protowire.AppendTag(s, 1, protowire.Fixed64Type)
			s = protowire.AppendFixed64(s, math.Float64bits(sample.Value))
			s = protowire.AppendTag(s, 2, protowire.VarintType)
			s = protowire.AppendVarint(s, uint64(sample.At.UnixMilli()))
			message = protowire.AppendTag(message, 2, protowire.BytesType)
			message = protowire.AppendBytes(message, s)
		}
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, message)
	}
	return literals(out)
}

// literals is the block format of Snappy with nothing compressed: the length, and
// pieces each of which has a length of two bytes, one less than it is.
func literals(content []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(len(content)))
	for piece := range slices.Chunk(content, 1<<16) {
		out = append(out, 61<<2)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(piece)-1))
		out = append(out, piece...)
	}
	return out
}
