// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins VictoriaMetrics, a store of metrics with Prometheus's API and an
// engine of its own, which the tests ask, too.
package tools

import _ "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics"
