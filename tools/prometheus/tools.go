// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins Prometheus, the store of metrics that the tests ask, and promtool,
// which checks and runs the alert rules.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
