// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package class knows the dimensions of requests (host, path, method, who sends them,
// headers, token and claims), and splits each into classes of values that patterns do
// not tell apart.
package class
