// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package signature says what made a request fail, by what the proxies of client and
// server logged of it. One line alone seldom settles it: to the proxy of a client, a
// server that takes no plaintext looks like an application that fell over. So the
// answer is a list of candidates with how certain each is, why, and what would make
// it certain.
//
// Sources: Envoy's "response flags" and "response code details"
// (envoy/stream_info/stream_info.h), the errors and alerts of BoringSSL
// (ssl_errors.txt), and what a real Envoy logs (test/oracle/signature).
package signature
