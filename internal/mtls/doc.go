// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package mtls knows how workloads secure what they send each other: for each client
// and each port of a service what the client's proxy sends, what the server's proxy
// takes, and whether they get on. Both are read from the configuration that the
// proxies are sent, endpoint by endpoint, and not from the policies behind it, so that
// it holds for whatever Istio makes of these.
//
// It is pure.
package mtls
