// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins Helm, which renders charts/trellis for the demo and the
// tests, so that the chart is exercised by the same renderer users have.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
