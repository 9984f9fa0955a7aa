// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/trellis-mesh/trellis/test/tool"
)

// cache is the directory that `make tools` fills.
type cache string

// findCache checks that everything a stack runs is in it.
func findCache() (cache, error) {
	dir, err := tool.Cache()
	if err != nil {
		return "", err
	}
	c := cache(dir)
	for _, path := range []string{
		c.binary("etcd"), c.binary("kube-apiserver"), c.binary("pilot-discovery"), c.binary("pilot-agent"),
		c.binary("envoy"), c.binary("leash"), c.istio("crd-all.gen.yaml"), c.istio("envoy_bootstrap.json"),
	} {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("finding the tools: %w: run make tools", err)
		}
	}
	return c, nil
}

func (c cache) binary(name string) string { return filepath.Join(string(c), "bin", name) }
func (c cache) istio(name string) string  { return filepath.Join(string(c), "istio", name) }
