// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/trellis-mesh/trellis/test/tool"
)

// Namespace is where the chart is rendered for.
const Namespace = "trellis-system"

// Template is what Helm makes of the chart trellis, with more arguments of helm template.
// The error carries what Helm said.
func Template(ctx context.Context, arguments ...string) ([]byte, error) {
	return run(ctx, "trellis", arguments)
}

// Catalog is the same of the chart trellis-catalog.
func Catalog(ctx context.Context, arguments ...string) ([]byte, error) {
	return run(ctx, "trellis-catalog", arguments)
}

func run(ctx context.Context, chart string, arguments []string) (manifest []byte, err error) {
	helm, err := tool.Find("helm", "tools")
	if err != nil {
		return nil, err
	}
	root, err := tool.Repository()
	if err != nil {
		return nil, err
	}
	// Helm reads plugins, repositories and settings of the person who runs it.
	home, err := os.MkdirTemp("", "helm")
	if err != nil {
		return nil, fmt.Errorf("running helm: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	arguments = append([]string{"template", chart, filepath.Join(root, "charts", chart), "--namespace", Namespace}, arguments...)
	command := exec.CommandContext(ctx, helm, arguments...)
	command.Env = []string{"HOME=" + home}
	var problem strings.Builder
	command.Stderr = &problem
	if manifest, err = command.Output(); err != nil {
		return nil, fmt.Errorf("running helm: %w: %s", err, problem.String())
	}
	return manifest, nil
}
