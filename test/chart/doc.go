// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart checks what charts/trellis renders to, with Helm itself (the
// pinned binary of make tools): every object parses strictly as its Kubernetes
// type, the operator gets no right that is not on a written list, its pod meets
// the restricted Pod Security Standard, and values that mean nothing are refused.
// What the operator does with its flags and rights is tested on the real stack.
// The chart trellis-catalog must render to the very policies of the catalog.
package chart
