// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// The names of a node's metadata that decide what istiod sends
// (pkg/model/proxy.go of Istio, NodeMetadata).
const (
	metaNamespace      = "NAMESPACE"
	metaServiceAccount = "SERVICE_ACCOUNT"
	metaCluster        = "CLUSTER_ID"
	metaLabels         = "LABELS"
	metaInterception   = "INTERCEPTION_MODE"
	metaVersion        = "ISTIO_VERSION"
	metaName           = "NAME"
	metaAddresses      = "INSTANCE_IPS"
	metaMesh           = "MESH_ID"
	metaAnnotations    = "ANNOTATIONS"
)

// Announcement is the node as it presents itself to istiod. Where the metadata
// that the proxy really sends are known they are sent; the fields of the node
// fill in what is missing.
func (n Node) Announcement() *corev3.Node {
	metadata := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	if n.Metadata != nil {
		metadata = proto.CloneOf(n.Metadata)
	}
	if metadata.Fields == nil {
		metadata.Fields = map[string]*structpb.Value{}
	}
	set := func(name, value string) {
		if _, there := metadata.Fields[name]; !there && value != "" {
			metadata.Fields[name] = structpb.NewStringValue(value)
		}
	}
	set(metaNamespace, n.Namespace)
	set(metaServiceAccount, n.ServiceAccount)
	set(metaCluster, n.Cluster)
	set(metaInterception, string(n.Interception))
	set(metaVersion, n.Version)
	set(metaName, n.Name)
	set(metaMesh, n.TrustDomain)
	var addresses []string
	for _, a := range n.Addresses {
		addresses = append(addresses, a.String())
	}
	set(metaAddresses, strings.Join(addresses, ","))
	if _, there := metadata.Fields[metaLabels]; !there && len(n.Labels) > 0 {
		labels := make(map[string]*structpb.Value, len(n.Labels))
		for k, v := range n.Labels {
			labels[k] = structpb.NewStringValue(v)
		}
		metadata.Fields[metaLabels] = structpb.NewStructValue(&structpb.Struct{Fields: labels})
	}
	return &corev3.Node{Id: n.ID(), Metadata: metadata}
}

// ParseAnnouncement reads the node that an Envoy was started with, as it is in
// its bootstrap and in every request of its. What the node does not say stays
// empty.
func ParseAnnouncement(announced *corev3.Node) (Node, error) {
	n, err := ParseID(announced.GetId())
	if err != nil {
		return Node{}, err
	}
	metadata := announced.GetMetadata()
	text := func(name string) string { return metadata.GetFields()[name].GetStringValue() }
	n.Metadata = metadata
	if namespace := text(metaNamespace); namespace != "" && namespace != n.Namespace {
		return Node{}, fmt.Errorf("reading node %s: its metadata say namespace %q", announced.GetId(), namespace)
	}
	n.ServiceAccount = text(metaServiceAccount)
	n.Cluster = text(metaCluster)
	n.Version = text(metaVersion)
	n.TrustDomain = text(metaMesh)
	if n.Type == Sidecar {
		n.Interception = InterceptionRedirect
		if mode := text(metaInterception); mode != "" {
			n.Interception = Interception(mode)
		}
	}
	if said := metadata.GetFields()[metaAnnotations].GetStructValue(); said != nil {
		annotations := make(map[string]string, len(said.Fields))
		for k, v := range said.Fields {
			annotations[k] = v.GetStringValue()
		}
		n.Capture = captureOf(annotations)
	}
	if labels := metadata.GetFields()[metaLabels].GetStructValue(); labels != nil {
		n.Labels = make(map[string]string, len(labels.Fields))
		for k, v := range labels.Fields {
			n.Labels[k] = v.GetStringValue()
		}
	}
	for _, address := range strings.Split(text(metaAddresses), ",") {
		parsed, err := netip.ParseAddr(strings.TrimSpace(address))
		if err == nil && (len(n.Addresses) == 0 || parsed != n.Addresses[0]) {
			n.Addresses = append(n.Addresses, parsed)
		}
	}
	return n, nil
}
