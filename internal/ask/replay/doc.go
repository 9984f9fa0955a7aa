// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay decides requests that were really made, as access logs tell of
// them, in another world: which of them would end in another way. A log does not
// keep everything that decides; what it lacks is said and never guessed.
package replay
