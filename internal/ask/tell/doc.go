// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package tell puts answers into people's words: why a request ended as it did, what
// to do about it, where that would be changed and by whom, and which proxies have a
// rule.
package tell
