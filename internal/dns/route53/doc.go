// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package route53 is Amazon Route 53 as a dns.Provider.
//
// A batch is atomic there, DELETE must repeat exactly what is there and CREATE
// fails where something is. So every write compares and swaps, and UPSERT, which
// compares nothing, is never used. All calls share one token bucket per account,
// since the account's quota of five requests a second is shared with everything
// else that talks to Route 53.
package route53
