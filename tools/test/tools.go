// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins gotestsum, which turns the output of go test into a short
// progress line, a list of failures and a final count.
package tools

import _ "gotest.tools/gotestsum"
