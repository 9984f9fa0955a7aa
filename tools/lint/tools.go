// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins golangci-lint. It has a module of its own because the
// linter's dependencies must never decide a version in the product.
package tools

import _ "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"
