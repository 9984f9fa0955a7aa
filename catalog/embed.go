// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog embeds the policies that Trellis comes with, so that whoever binds,
// tests or shows one has the very bytes that are in the repository.
package catalog

import "embed"

// Files are the policies: a folder for each, with one PolicyTemplate in policy.yaml.
//
//go:embed */policy.yaml
var Files embed.FS
