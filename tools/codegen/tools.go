// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins controller-gen, which writes the deep-copy code and the
// CustomResourceDefinitions of api/. v0.21 belongs to the Kubernetes 0.36 wave.
package tools

import _ "sigs.k8s.io/controller-tools/cmd/controller-gen"
