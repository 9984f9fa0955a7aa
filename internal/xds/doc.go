// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package xds holds the configuration that each proxy of a mesh receives, as
// values: the proxy (Node), what it was sent (Config), and the small interface
// (Source) behind which the configuration comes from one of three places: Istio's
// own generator in this process (generator), a running istiod (ads), or the
// configuration dump of one Envoy (configdump).
//
// It knows Envoy's messages and how Envoy finds one resource from another, and
// nothing of requests: package decide evaluates them. It is pure; what fetches is
// in the packages below it.
package xds
