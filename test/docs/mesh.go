// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/tool"
)

// The pages that tell people what to write so that proxies send their access logs.
const (
	Rollouts = "mutual-tls-rollout.md"
	Hits     = "hits.md"
)

// MeshConfig is the part of Istio's mesh configuration that a page of docs/concepts tells
// people to write, by which proxies send their access logs to trellis-server.
func MeshConfig(page string) (map[string]any, error) {
	text, err := blockOf(page, "yaml mesh", "")
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("reading the mesh configuration of %s: %w", page, err)
	}
	return out, nil
}

// Telemetry is the object by which the proxies of a whole mesh do so, as a page has it.
func Telemetry(page string) ([]byte, error) {
	text, err := blockOf(page, "yaml", "kind: Telemetry\n")
	return []byte(text), err
}

// blockOf is the first of a page that has a text.
func blockOf(page, info, with string) (string, error) {
	root, err := tool.Repository()
	if err != nil {
		return "", err
	}
	p, err := readPage(filepath.Join(root, "docs", "concepts", page))
	if err != nil {
		return "", err
	}
	for _, b := range p.blocks {
		if b.info == info && strings.Contains(b.text, with) {
			return b.text, nil
		}
	}
	return "", fmt.Errorf("reading %s: it has no block %q with %q", page, info, with)
}
