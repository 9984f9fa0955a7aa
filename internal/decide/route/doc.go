// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package route knows how Envoy chooses a route for a request from a
// RouteConfiguration, and what the route does with it: the virtual host, the
// first route that matches, the clusters with their shares, the proxy's own
// answers with their Location, and the request as it goes to an upstream host
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/route_matching).
//
// Compile reads a RouteConfiguration once; a Table is immutable and safe for
// concurrent use. Pick looks at a request as it is at that moment: after a filter
// has changed it and cleared the route cache, pick again. test/oracle/route holds
// this package against a real Envoy 1.40.
package route
