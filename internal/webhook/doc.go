// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook decides at admission about Application, SecureIngress, HostClaim and
// the kinds of policy: it compiles what the cluster would state with the candidate in
// it, by the same code as `trellis check`, and refuses, warns or says nothing.
//
// Refused is only what the change itself brings (what the object had wrong
// before is no reason to hold up a change that leaves it so), that nothing which
// is applied later can cure, or that would close somebody else's routes. A set of
// documents that is good together can therefore be applied in any order, and
// restored in any order. The table in verdict.go lists every reason; what it does
// not refuse is a warning now, and a problem in the status.
//
// It is a guard rail and not the guard: it looks at a cache that may be a moment
// old, and everything it refuses is closed by the compiler all the same. It writes
// nothing, so dry runs are safe. Deletion is never held up, but of a PolicyTemplate that
// is bound.
package webhook
