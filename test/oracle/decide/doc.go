// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package decide has the real Envoy judge the filters of internal/decide: random
// configurations and random requests, decided by both, with no disagreement in
// the answer, its details, the policy that decided or the dynamic metadata. The
// seed is printed; what was found once is a named case.
package decide
