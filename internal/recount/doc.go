// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package recount says of counted requests which of them a change would let end in another
// way.
//
// A store of counts has no requests: of each it is known who called, which route it was for
// and which statement decided, and neither its path nor its token. So a key of the store
// stands for a class of requests. All requests that end now as the key says are decided
// before and after the change: where all of them go on as they do, so did what was counted,
// and where all of them end in another way, all of it is changed. Else it depends on what no
// count keeps, and a request of each kind shows on what.
//
// A request that passes a gateway and a workload is counted by both, and each of the two
// counts is judged alone.
//
// It is pure.
package recount
