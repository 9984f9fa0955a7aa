// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cloudflare is a strict stand-in for the zones and DNS records of
// Cloudflare's REST interface v4, written from the public API reference, the pages
// on record types, record attributes, batches and rate limits, and refusals as
// users of the service have published them.
//
// It enforces what the service enforces: tokens, with rights for zones; batches
// that happen as a whole or not at all, deletes before patches before puts before
// posts, up to 200 operations; ids; identical records (81058) and CNAME beside
// addresses (81053, 81054); TTLs of 60 to 86,400 seconds, or 1; which types can be
// proxied, and their TTL of 1; comments of 100 characters; no tags; 8,192 octets of
// text at a name; pages. As the service does, it takes a name that does not end in
// the zone's for one below it, and lets a CNAME stand beside other types than
// addresses. What it does not know it refuses.
//
// It has no ETags, since the service has none. The status and the code with which
// batches that are too large and some tokens are refused are not documented; those
// here are the likely ones.
package cloudflare
