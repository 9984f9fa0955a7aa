// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster knows where an Envoy cluster sends a request and how it secures
// the connection to each endpoint: which endpoints take part, with which share,
// by which transport socket, and which HTTP the upstream is spoken to in.
package cluster
