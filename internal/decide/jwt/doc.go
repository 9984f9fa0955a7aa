// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package jwt decides what Envoy's filter envoy.filters.http.jwt_authn does with a
// request: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter
//
// Tokens are abstract ones of the question (stream.Token) or real ones, which are
// verified with the keys that the configuration holds. Keys that Envoy would fetch
// are not known here, and what depends on them is Unknown. The time is given.
//
// A Filter is compiled once and may be used concurrently.
package jwt
