// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package configdump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

const (
	// typedStruct is how Envoy itself writes a message whose type it leaves open
	// (xds.type.v3.TypedStruct): its type URL and its fields.
	typedStruct = "type.googleapis.com/xds.type.v3.TypedStruct"
	// unreadable stands for a resource that could not be read at all.
	unreadable = "type.googleapis.com/google.protobuf.Empty"
)

// resourceTypes are what a part is a list of, by their type URLs.
var resourceTypes = map[string]string{
	"type.googleapis.com/envoy.config.listener.v3.Listener":                listenerType,
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration":         routeType,
	"type.googleapis.com/envoy.config.cluster.v3.Cluster":                  clusterType,
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment":   assignmentType,
	"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig":        extensionType,
	"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": secretType,
}

// tolerate reads a part that is not known in full. Types that are not known become
// typed structs; fields that are not known are dropped; both are problems.
func (r *reading) tolerate(text json.RawMessage, into proto.Message) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var tree map[string]any
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	r.clean(tree)
	cleaned, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	whole := &anypb.Any{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(cleaned, whole); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	return whole.UnmarshalTo(into)
}

// clean makes every resource in the tree readable.
func (r *reading) clean(node any) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			r.clean(item)
		}
	case map[string]any:
		// What Envoy refused is not looked at.
		delete(n, "failed_configuration")
		delete(n, "failedConfiguration")
		for _, key := range slices.Sorted(maps.Keys(n)) {
			child, ok := n[key].(map[string]any)
			switch {
			case ok && resourceTypes[typeOf(child)] != "":
				n[key] = r.readable(child)
			case ok && (key == "bootstrap" || typeOf(child) != ""):
				// No resource, and has extensions all the same.
				r.open("", key, child)
			default:
				r.clean(n[key])
			}
		}
	}
}

func typeOf(object map[string]any) string {
	url, _ := object["@type"].(string)
	return url
}

// readable gives a resource in a form that this build reads.
func (r *reading) readable(object map[string]any) any {
	kind := resourceTypes[typeOf(object)]
	name, _ := object["name"].(string)
	for _, key := range []string{"cluster_name", "clusterName"} {
		if text, ok := object[key].(string); ok {
			name = text
		}
	}
	r.open(kind, name, object)
	text, err := json.Marshal(object)
	if err != nil {
		r.problem(xds.Unresolved, kind, name, "", err.Error())
		return map[string]any{"@type": unreadable}
	}
	strict := protojson.Unmarshal(text, &anypb.Any{})
	if strict == nil {
		return object
	}
	message := &anypb.Any{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, message); err != nil {
		r.problem(xds.Unresolved, kind, name, "", withoutSpaces(err))
		return map[string]any{"@type": unreadable}
	}
	r.problem(xds.UnknownField, kind, name, "", withoutSpaces(strict))
	return object
}

// withoutSpaces: protojson varies the spaces in its messages on purpose.
func withoutSpaces(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\u00a0", " ")), " ")
}

// open turns messages of unknown types into typed structs.
func (r *reading) open(kind, name string, node any) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			r.open(kind, name, item)
		}
	case map[string]any:
		url := typeOf(n)
		if url == "" || known(url) {
			for _, key := range slices.Sorted(maps.Keys(n)) {
				r.open(kind, name, n[key])
			}
			return
		}
		r.problem(xds.Unresolved, kind, name, url, "the type is not known; it was kept unread")
		fields := make(map[string]any, len(n))
		for key, value := range n {
			if key != "@type" {
				fields[key] = value
			}
			delete(n, key)
		}
		n["@type"], n["type_url"], n["value"] = typedStruct, url, fields
	}
}

func known(url string) bool {
	_, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	return err == nil
}
