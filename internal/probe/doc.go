// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package probe is the source of the condition Enforced: it sends to every
// gateway pod one request for each published route, without a token, and
// compares the certificate and the answer with what the route is meant to do.
//
// Probes carry an unguessable header (key.go), which the first entry of every
// host answers with 418 after authorization has let the request through, so a
// probe never reaches an application. The package knows HTTP and TLS; which
// probes there are, and what they must show, package compile says.
package probe
