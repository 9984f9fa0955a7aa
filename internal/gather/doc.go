// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package gather watches a cluster and gives, at any moment, everything that
// compiling and applying need to know of it. Its caches hold as little as
// possible: of what Trellis generated a digest, of pods a handful of fields, of
// Secrets the certificate alone. It decides nothing about what it reads; the
// meaning of the objects is in package load.
package gather
