// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package rbac decides what Envoy's role based access control filters do with a
// request (envoy.filters.http.rbac) or a connection (envoy.filters.network.rbac):
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter
//
// Configurations are compiled once; a Filter is then read only and may be used
// concurrently. Rules that are given as a matcher tree, conditions in CEL and
// extensions are Unknown.
package rbac
