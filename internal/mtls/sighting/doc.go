// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package sighting reads from entries of access logs who called whom, how the connection
// was secured and what failed for want of mutual TLS, and keeps count of it in bounded
// memory. Of an entry nothing else is kept: no path, no query, no header.
//
// A request has up to two entries, and counts once:
//
//   - What came through is counted by the entry of the server's proxy: it alone knows
//     how the connection was secured.
//   - Plaintext that was refused is counted by the listener log of the server's proxy (NR
//     filter_chain_not_found), whoever the client is: to the client's proxy it looks like
//     an application that closed the connection.
//   - What else failed for a cause of mutual TLS is counted by the entry of the client's
//     proxy, and where the client has none by that of the server's.
//
// It is pure.
package sighting
