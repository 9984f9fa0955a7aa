// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package route53 is a strict stand-in for Amazon Route 53 and the part of AWS
// STS that gives out its credentials, written from the API reference (Route 53
// 2013-04-01, STS 2011-06-15), the developer guide's pages on names, record
// types and quotas, and the description of Signature Version 4. The texts of
// refused batches, which the reference does not give, are as users report them.
//
// It enforces what the service enforces: signatures and expiry of credentials;
// batches that happen as a whole or not at all; DELETE of exactly what is there;
// CNAME alone at its name and never at the apex; no simple set beside routed
// ones; quoted strings of at most 255 characters; 1,000 records and 32,000
// characters in a batch, with UPSERT counted twice; pages of 300 record sets and
// 100 zones in the service's order; a change that is PENDING before it is INSYNC.
// What it does not know, such as latency records, it refuses.
//
// Two statements of the reference are kept out, since the service is known not to
// insist on them: one value only in a weighted set, and equal TTLs in a group.
package route53
