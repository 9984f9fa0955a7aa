// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package prometheus asks a store of metrics what it knows of the traffic between
// workloads: Prometheus, or what has its HTTP API (Thanos, Mimir, VictoriaMetrics). It
// reads Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/),
// istio_requests_total and istio_tcp_connections_opened_total.
//
// Counters are not read by increase(): that guesses beyond the samples, and knows
// nothing of the first sample of a series, with which a client that was never there
// before begins. So the window is cut into steps, the store says of each series the
// last, greatest and least value in each, and growth is worked out here (growth.go).
//
// What metrics cannot say is not made up. A client without a proxy has no name in them.
// A connection that the server's proxy refuses is in no metric of it. And a request
// that failed at the client's proxy says by its response flag that the connection broke,
// never why.
package prometheus
