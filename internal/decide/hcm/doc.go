// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package hcm knows what Envoy's HTTP connection manager does with a request
// before the first filter sees it: what its codec refuses, which path and host
// are left after normalisation, whose address the client's is, and which headers
// are taken away, changed or added
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/http_conn_man).
//
// The behaviour is that of Envoy 1.40, and test/oracle/route holds this package
// against a real one. Where a newer Envoy differs from what is written about it,
// the real one is right; each such place says so.
//
// Compile reads the configuration once; a Manager is immutable and safe for
// concurrent use.
package hcm
