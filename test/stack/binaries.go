// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cache is the directory that `make tools` fills.
type cache string

// findCache looks at $TRELLIS_CACHE, else for .cache beside the root module's
// go.mod, and checks that everything a stack runs is in it.
func findCache() (cache, error) {
	dir := os.Getenv("TRELLIS_CACHE")
	if dir == "" {
		root, err := repositoryRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, ".cache")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the tools: %w", err)
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

func repositoryRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/trellis-mesh/trellis\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the repository: %s is not inside it; set TRELLIS_CACHE to the cache directory", start)
		}
	}
}
