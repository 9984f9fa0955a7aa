// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package azure is Azure DNS as a dns.Provider. It knows public zones; private
// ones are another service (Microsoft.Network/privateDnsZones), which is left out.
//
// Each record set is written alone, with its ETag or with the condition that it
// is not there. So one change at a time is applied, in the order of
// dns.Change.Writes, which can be resumed after any of them. A second copy of the
// owner is in the metadata of each record set, for people who look at it in the
// portal.
package azure
