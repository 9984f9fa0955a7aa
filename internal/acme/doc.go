// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package acme gets certificates from a certificate authority that speaks ACME
// (RFC 8555), one step at a time. A State is all that has to be remembered; it
// holds no secret and people can read it. Step does at most one thing on the
// network and returns the State to store before the next, so that a process that
// ends at any point goes on with the same order. Publishing the answers to
// challenges, and looking whether the world sees them, is the caller's.
//
// RFC 8555 has no key that would make newOrder idempotent. Where it may have been
// heard and nobody knows the answer, the account's list of orders is searched first
// (§7.1.2.1); Let's Encrypt has none, and gives the same order to the same names. A
// CA that does neither gets another order.
package acme
