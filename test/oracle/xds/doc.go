// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package xds compares the three sources of a proxy's configuration with each
// other on the real stack: what Istio's generator says in this process, what a
// running istiod sends, and what a real Envoy says that it has. It holds no
// product code. What may differ is a table with the reason of each entry
// (differences.go).
package xds
