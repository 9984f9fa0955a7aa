// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

// SameControlPlane reports whether two generators work on one control plane.
func SameControlPlane(a, b *Generator) bool { return a.plane == b.plane }

// SameConfig is what sides are compared by.
var SameConfig = sameConfig
