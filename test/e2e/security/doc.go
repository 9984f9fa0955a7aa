// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package security proves every security statement of the API on real Envoys:
// documents are compiled, what comes out is applied to a running mesh, and
// requests are sent through its gateways and from inside it. All tests share
// one mesh; each has host names or workloads of its own. The package knows the
// compiler's input and output and nothing of how the operator applies them.
package security
