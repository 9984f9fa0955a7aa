// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package listener lets a real Envoy judge how internal/decide/listener chooses
// filter chains. It has only tests.
package listener
