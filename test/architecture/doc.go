// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package architecture checks what no compiler checks: which packages are pure,
// which way imports point, how long things may get, what packages may be called,
// and that every dependency was let in with a reason. It reads the source tree
// and go list, holds no product code, and knows nothing about behaviour. An
// exception is an entry in exceptions_test.go with a written reason.
package architecture
