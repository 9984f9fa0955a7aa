// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package envoy runs one bare Envoy with a given static configuration, sends it
// requests byte by byte and tells what it did with each: the answer, what the
// upstream got, and what the access log says of the reasons. It is the judge of
// what internal/decide says.
//
// Everything is on 127.0.0.0/8 and on ports that the kernel chooses: listeners
// ask for port 0, and Proxy.Address says what they got. A Proxy may be used
// concurrently, a Connection may not.
package envoy
