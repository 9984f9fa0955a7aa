// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/tool"
)

// MeshConfig is the part of Istio's mesh configuration that the page of rollouts tells
// people to write, by which proxies send their access logs to trellis-server.
func MeshConfig() (map[string]any, error) {
	root, err := tool.Repository()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "docs", "concepts", "mutual-tls-rollout.md")
	p, err := readPage(path)
	if err != nil {
		return nil, err
	}
	for _, b := range p.blocks {
		if b.info != "yaml mesh" {
			continue
		}
		out := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(b.text), &out); err != nil {
			return nil, fmt.Errorf("reading %s: the block of line %d: %w", path, b.line, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("reading %s: it has no mesh configuration", path)
}
