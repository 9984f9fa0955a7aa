// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package delegation has the objects by which Trellis asks other controllers of a
// cluster to do a part of its work: cert-manager's Certificate and ExternalDNS'
// DNSEndpoint. The types hold what Trellis states in them and what it reads of
// their status, and nothing else: they link neither project. Like all of package
// model they are plain values.
package delegation
