// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package repair finds changes that resolve a conflict of mutual TLS: the smallest edit
// of the DestinationRule in force, or a new one that inherits every traffic setting of
// it. Whether a proposal does what it should, and nothing else, is to be found out by
// making the mesh anew with it: what proxies are sent before and after is compared here.
//
// It is pure.
package repair
