// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins the Istio parts of the local stack: istiod, the agent that runs
// Envoy beside a workload, and istioctl, a peer of benchmarks.
package tools

import (
	_ "istio.io/istio/istioctl/cmd/istioctl"
	_ "istio.io/istio/pilot/cmd/pilot-agent"
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
)
