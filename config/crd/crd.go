// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package crd embeds the CustomResourceDefinitions that `make generate` writes
// beside it, so that whoever checks a document offline checks it by the very
// bytes that a cluster is given.
package crd

import "embed"

// Files are the definitions, one YAML document per file.
//
//go:embed *.yaml
var Files embed.FS
