// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package clouddns is a strict stand-in for the REST interface v1 of Google Cloud
// DNS and the token servers in front of it, written from the API's discovery
// document, the pages on quotas and record types, and refusals as users of the
// service have published them.
//
// It enforces what the service enforces: tokens and their expiry; changes that
// happen as a whole or not at all; deletions of exactly what is there (412, or 404
// where nothing is); additions of what is not (409); CNAME alone at its name; SOA
// and NS at the apex; names inside the zone, with a dot at the end; rdata that
// parses, TXT in strings of at most 255 octets; 1,000 additions and deletions and
// 100,000 octets in a change, 100 values in a set; pages with tokens; a change
// that is pending before it is done. What it does not know it refuses.
//
// Where the documents do not say, it is the stricter of two readings: the order
// in which several errors of one change are found is deletions, additions, rules
// of the zone that would result.
package clouddns
