// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package configdump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

// MaximumSize is the largest dump that is read, in bytes. A sidecar that sees
// 3,000 services has one of some 40 MB.
const MaximumSize = 256 << 20

// Options say how to read a dump.
type Options struct {
	// Name is of the file, for messages and provenance.
	Name string
	// Node is the proxy, for a dump without bootstrap. Nil: the dump must have it.
	Node *xds.Node
}

// reading is what was found so far.
type reading struct {
	resources xds.Resources
	problems  []xds.Problem
	node      *xds.Node
	version   string
	newest    time.Time
}

// Read reads one dump. An error says what is wrong with the file as a whole; what
// is wrong with one resource is among the Config's problems.
func Read(from io.Reader, options Options) (*xds.Config, error) {
	config, err := read(from, options)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration dump %s: %w", options.Name, err)
	}
	return config, nil
}

func read(from io.Reader, options Options) (*xds.Config, error) {
	text, err := io.ReadAll(io.LimitReader(from, MaximumSize+1))
	if err != nil {
		return nil, err
	}
	parts, err := split(text)
	if err != nil {
		return nil, err
	}
	r := &reading{node: options.Node}
	for i, part := range parts {
		if err := r.part(part); err != nil {
			return nil, fmt.Errorf("its part %d: %w", i+1, err)
		}
	}
	switch {
	case len(r.resources.Listeners) == 0 && len(r.resources.Clusters) == 0 && len(r.problems) == 0:
		return nil, errors.New("it has neither listeners nor clusters: take all of GET /config_dump?include_eds, without a filter or mask")
	case r.node == nil:
		return nil, errors.New("it does not say which proxy it is of, since it has no bootstrap: take all of GET /config_dump?include_eds, or name the proxy")
	}
	// Envoy also writes out the endpoints of clusters that have them inside, and of
	// clusters that have none.
	named := xds.AssignmentNames(r.resources)
	r.resources.Assignments = slices.DeleteFunc(r.resources.Assignments, func(a *endpointv3.ClusterLoadAssignment) bool {
		_, found := slices.BinarySearch(named, a.GetClusterName())
		return !found
	})
	provenance := xds.Provenance{Source: xds.FromDump, Name: options.Name, Version: r.version, Time: r.newest}
	return xds.NewConfig(*r.node, provenance, r.resources, append(r.problems, xds.Unsent(r.resources)...)...), nil
}

// split gives the parts of the outermost object.
func split(text []byte) ([]json.RawMessage, error) {
	switch {
	case len(text) > MaximumSize:
		return nil, fmt.Errorf("it is longer than %d bytes", MaximumSize)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("it is empty")
	}
	var dump struct {
		Configs []json.RawMessage `json:"configs"`
	}
	err := json.Unmarshal(text, &dump)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(text)):
		return nil, fmt.Errorf("it ends in the middle, after %d bytes: %w", len(text), err)
	case err != nil:
		return nil, fmt.Errorf("it is not the JSON of Envoy's GET /config_dump: %w", err)
	case len(dump.Configs) == 0:
		return nil, errors.New(`it has no "configs": it is not the JSON of Envoy's GET /config_dump`)
	}
	return dump.Configs, nil
}

// part reads one of the configs.
func (r *reading) part(text json.RawMessage) error {
	var head struct {
		Type string `json:"@type"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Type == "" {
		return errors.New(`it has no "@type"`)
	}
	message := partOf(head.Type)
	if message == nil {
		if !ignored[head.Type] {
			r.problem(xds.Unresolved, "", "", head.Type, "this part of the dump is not known")
		}
		return nil
	}
	if err := r.decode(text, message); err != nil {
		return err
	}
	switch m := message.(type) {
	case *adminv3.BootstrapConfigDump:
		return r.bootstrap(m)
	case *adminv3.ListenersConfigDump:
		r.listeners(m)
	case *adminv3.RoutesConfigDump:
		r.routes(m)
	case *adminv3.ClustersConfigDump:
		r.clusters(m)
	case *adminv3.EndpointsConfigDump:
		r.endpoints(m)
	case *adminv3.EcdsConfigDump:
		r.extensions(m)
	case *adminv3.SecretsConfigDump:
		r.secrets(m)
	}
	return nil
}

const adminTypes = "type.googleapis.com/envoy.admin.v3."

// ignored are parts that say nothing about requests which the rest does not.
var ignored = map[string]bool{adminTypes + "ScopedRoutesConfigDump": true}

func partOf(typeURL string) proto.Message {
	switch typeURL {
	case adminTypes + "BootstrapConfigDump":
		return &adminv3.BootstrapConfigDump{}
	case adminTypes + "ListenersConfigDump":
		return &adminv3.ListenersConfigDump{}
	case adminTypes + "RoutesConfigDump":
		return &adminv3.RoutesConfigDump{}
	case adminTypes + "ClustersConfigDump":
		return &adminv3.ClustersConfigDump{}
	case adminTypes + "EndpointsConfigDump":
		return &adminv3.EndpointsConfigDump{}
	case adminTypes + "EcdsConfigDump":
		return &adminv3.EcdsConfigDump{}
	case adminTypes + "SecretsConfigDump":
		return &adminv3.SecretsConfigDump{}
	}
	return nil
}

// decode reads a part as it is, if this build knows all of it, and else leniently.
func (r *reading) decode(text json.RawMessage, into proto.Message) error {
	whole := &anypb.Any{}
	if protojson.Unmarshal(text, whole) == nil {
		return whole.UnmarshalTo(into)
	}
	return r.tolerate(text, into)
}

func (r *reading) problem(kind xds.ProblemKind, resourceType, resource, typeURL, detail string) {
	r.problems = append(r.problems, xds.Problem{Kind: kind, Type: resourceType, Resource: resource, TypeURL: typeURL, Detail: detail})
}

func (r *reading) seen(at *timestamppb.Timestamp) {
	if at.IsValid() && at.AsTime().After(r.newest) {
		r.newest = at.AsTime()
	}
}
