// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package route holds internal/decide/hcm and internal/decide/route against a real
// Envoy: random configurations and requests, every answer compared. Its tests
// print their seed; TRELLIS_SEED repeats a run, and TRELLIS_ROUNDS makes it
// longer (see the tests). What they once found is in the cases of the packages
// themselves, by name.
package route
