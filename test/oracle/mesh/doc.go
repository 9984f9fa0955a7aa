// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh fuzzes decide against a whole mesh: random objects of every kind
// that Istio takes, written by hand or made by Trellis, go through a real API
// server and a real istiod to real Envoys. What each Envoy says that it has is
// given to decide; random requests are decided and sent, and must end alike: the
// same application, status, reason in the access log, target of a redirect, or
// way to fail.
//
// A configuration takes the place of the one before it in the same mesh. Nothing
// depends on when a proxy learns of it: what is decided upon is what the proxy
// has, and a disagreement counts only if the proxy still has it afterwards.
package mesh
