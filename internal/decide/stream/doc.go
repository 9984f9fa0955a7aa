// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package stream knows what a proxy sees of one request: the connection that it
// came on, its headers as they are at this point of the filter chain, and what
// earlier filters have said of it (Envoy's dynamic metadata and filter state).
// "Stream" is Envoy's word for one request and its response
// (https://www.envoyproxy.io/docs/envoy/latest/intro/life_of_a_request).
//
// It decides nothing. Filters change a Stream as Envoy's filters do; whoever
// needs the one before takes a Clone. A Stream is not safe for concurrent use.
package stream
