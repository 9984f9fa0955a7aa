// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package dns knows how names of ours come into zones that others write to too:
// record sets, the marks that say whose they are, plans, and what a provider
// must be able to do. Planning is pure; an Engine carries plans out.
//
// Each record set of ours has a mark: a TXT record at a child label, inside the
// same zone. What has no mark of ours is never written to. Every write says what
// it expects to find, and fails where something else is there (ErrStale).
package dns
