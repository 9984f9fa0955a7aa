// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package decide knows what becomes of one request on its way through a mesh. It
// walks the configuration that Envoys really have (package xds): from the proxy
// of the client, or from outside, through gateways to the proxy of the server and
// into the application; at each proxy listener, filter chain, TLS, HTTP
// connection manager, HTTP filters, route, cluster, endpoint and the TLS towards
// it. The parts that Envoy names are packages below this one; this one puts them
// in order.
//
// A Verdict says what happens and by which rule. Nothing is guessed: what depends
// on something that is not in the configuration, or that this package does not
// know, is Unknown with the reason. Real Envoys judge it (test/oracle).
//
// An Evaluator is safe for concurrent use and remembers what it has compiled.
// There is no clock and no network in it.
package decide
