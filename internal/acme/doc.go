// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package acme gets certificates from a certificate authority that speaks ACME
// (RFC 8555), one step at a time. A State is all that has to be remembered; it
// holds no secret and people can read it. Step does at most one thing on the
// network and returns the State to store before the next, so that a process that
// ends at any point goes on with the same order. Publishing the answers to
// challenges, and looking whether the world sees them, is the caller's.
//
// A request whose answer never came is the one thing that cannot be made certain:
// RFC 8555 has no key that would make newOrder idempotent. Such a request is not
// repeated at once, and Let's Encrypt gives the same order to the same names.
package acme
