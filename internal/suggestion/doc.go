// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package suggestion proposes what an Application could state of who calls it and whom
// it calls, by what was counted of its requests. It proposes and decides nothing: each
// party comes with the numbers that speak for it, and with the reason where nothing is
// proposed.
//
// It is pure.
package suggestion
