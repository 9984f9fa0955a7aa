// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring keeps what Prometheus and Grafana are given true. It collects every
// metric that the programs register and writes docs/reference/metrics.md from them; it
// makes the dashboards of the chart from those in the folder dashboards; and it holds
// every expression of a rule or a panel to Prometheus's own parser and to the metrics that
// there are. promtool checks the rules, and runs them on the cases in testdata.
//
// After a change of a metric or a dashboard:
//
//	go test ./test/monitoring -update
package monitoring
