// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package istiod is the source of the condition Programmed: it asks every
// replica of istiod, over its authenticated xDS port, what each proxy was sent
// and what it has acknowledged, and compares that with what the operator wrote.
//
// It knows how Istio's own configuration shows up in Envoy's, just far enough to
// recognise it (recognise.go). It never reads a proxy, never writes anything,
// and links none of Istio's code. docs/concepts/programmed.md says what an
// installation must allow for it to work.
package istiod
