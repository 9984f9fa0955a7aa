// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package listener knows which filter chain of an Envoy listener takes a
// connection, and whether the connection survives that chain's TLS.
//
// Envoy narrows chains down dimension by dimension (destination port and address,
// server name, transport, application protocol, source), each time to the most
// specific one that fits, and never goes back: a connection can end up without a
// chain although one would have fitted it
// (source/common/listener_manager/filter_chain_manager_impl.cc). Chains is a
// compiled listener. It is immutable and safe for concurrent use.
package listener
