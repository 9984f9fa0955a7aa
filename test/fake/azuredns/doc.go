// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package azuredns is a strict stand-in for Azure DNS behind Azure Resource
// Manager, and for the part of Microsoft Entra ID that gives out tokens for it,
// written from the REST reference (Microsoft.Network/dnsZones, 2018-05-01), the
// pages "DNS zones and records" and "Limits", and the OAuth 2.0 endpoints of the
// identity platform. The texts of errors, which the reference does not give, are
// as users report them.
//
// It enforces what the service enforces: bearer tokens, their expiry and rights;
// ETags that change at each write, If-Match, If-None-Match and 412; a CNAME alone
// at its name and never at the apex; 20 records in a set; strings of 255
// characters; TTLs from 1; pages of 100 with an opaque continuation; the apex's
// SOA and NS, which cannot go.
//
// Microsoft gives no limits for the metadata of a record set. Those here are the
// ones of tags, at which nobody should come near.
package azuredns
