// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package google is Google Cloud DNS as a dns.Provider, by its REST interface v1.
//
// A change is atomic there. Each of its deletions must be exactly what is there
// (412 conditionNotMet) and no addition may be there (409 alreadyExists), so every
// write compares and swaps.
//
// Weights and locations are not offered. At Google a routing policy (weighted
// round robin, geolocation, failover) is one record set that holds all members,
// so members of different clusters could not come and go one by one: each would
// have to rewrite what the others own. A record set with a routing policy that
// somebody else made is seen without values, and deleted or replaced only where
// it is adopted.
package google
