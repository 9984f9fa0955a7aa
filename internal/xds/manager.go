// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Manager reads an HTTP connection manager. The configurations of its filters share
// their bytes with the one that is given: each filter chain of a gateway repeats the
// rules of all its hosts, and copying them all would take most of the time. Read
// only.
func Manager(config *anypb.Any) (*hcmv3.HttpConnectionManager, error) {
	out := &hcmv3.HttpConnectionManager{}
	if !config.MessageIs(out) {
		return nil, fmt.Errorf("reading an HTTP connection manager: it is a %s", config.GetTypeUrl())
	}
	rest, filters, err := split(config.GetValue())
	if err == nil {
		err = proto.Unmarshal(rest, out)
	}
	if err != nil {
		return nil, fmt.Errorf("reading an HTTP connection manager: %w", err)
	}
	for i, filter := range out.GetHttpFilters() {
		if filters[i] != nil {
			filter.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: filters[i]}
		}
	}
	return out, nil
}

// numbers of the fields that hold what is not to be copied.
var (
	filtersField   = number(&hcmv3.HttpConnectionManager{}, "http_filters")
	typedField     = number(&hcmv3.HttpFilter{}, "typed_config")
	discoveryField = number(&hcmv3.HttpFilter{}, "config_discovery")
	urlField       = number(&anypb.Any{}, "type_url")
	valueField     = number(&anypb.Any{}, "value")
)

func number(m proto.Message, field protoreflect.Name) protowire.Number {
	return m.ProtoReflect().Descriptor().Fields().ByName(field).Number()
}

// split takes the filters' configurations out of a connection manager: what is left,
// and one for each filter, nil where it has none.
func split(manager []byte) (rest []byte, filters []*anypb.Any, err error) {
	err = eachField(manager, func(field protowire.Number, whole, content []byte) error {
		if field != filtersField || content == nil {
			rest = append(rest, whole...)
			return nil
		}
		filter, config, err := splitFilter(content)
		if err != nil {
			return err
		}
		filters = append(filters, config)
		rest = protowire.AppendBytes(protowire.AppendTag(rest, filtersField, protowire.BytesType), filter)
		return nil
	})
	return rest, filters, err
}

func splitFilter(filter []byte) (rest []byte, config *anypb.Any, err error) {
	err = eachField(filter, func(field protowire.Number, whole, content []byte) error {
		switch {
		case field == typedField && content != nil:
			if config == nil {
				config = &anypb.Any{}
			}
			return merge(config, content)
		case field == discoveryField:
			// Of a choice the last one counts.
			config = nil
		}
		rest = append(rest, whole...)
		return nil
	})
	return rest, config, err
}

// merge reads an Any without copying.
func merge(into *anypb.Any, raw []byte) error {
	return eachField(raw, func(field protowire.Number, _, content []byte) error {
		switch {
		case content == nil:
		case field == urlField:
			into.TypeUrl = string(content)
		case field == valueField:
			into.Value = content
		}
		return nil
	})
}

// eachField passes the fields of a message: each as a whole, and its content where it
// has a length, which is never nil then.
func eachField(message []byte, do func(field protowire.Number, whole, content []byte) error) error {
	for len(message) > 0 {
		field, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		size := protowire.ConsumeFieldValue(field, kind, message[tag:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		whole := message[: tag+size : tag+size]
		var content []byte
		if kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(whole[tag:])
			content = content[:len(content):len(content)]
		}
		if err := do(field, whole, content); err != nil {
			return err
		}
		message = message[tag+size:]
	}
	return nil
}
