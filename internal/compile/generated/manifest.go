// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generated

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Manifest is the object as it is applied: the fields that Trellis states and
// nothing that the API server adds. It is a fresh value that may be changed.
func (o Object) Manifest() (map[string]any, error) {
	data, err := json.Marshal(o.Value)
	if err != nil {
		return nil, fmt.Errorf("encoding %s, %w", o.Ref, err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("encoding %s, %w", o.Ref, err)
	}
	delete(m, "status")
	if meta, ok := m["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
	}
	return m, nil
}

// JSON is the object as the operator sends it, keys in order.
func (o Object) JSON() ([]byte, error) {
	m, err := o.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// YAML is the same as JSON, for people.
func (o Object) YAML() ([]byte, error) {
	m, err := o.Manifest()
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(m)
}
